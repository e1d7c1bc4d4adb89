"""`POST /api/kafka/events/...`: one order event per request, answered after the broker has it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from conf.settings import KafkaSettings
from gateway.events import check
from gateway.models import Envelope, OrderEvent, StatusChangedEvent
from gateway.producer import Message, Publisher
from gateway.responses import Accepted, BodyTooLargeError, Refused

log = structlog.get_logger(__name__)
PREFIX = "/api/kafka/events"
# W3C Trace Context, version 00; anything else is not worth carrying on.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True)
class EventRoute:
    """One route: the only event type that it takes, and the topic where it goes."""

    path: str
    event_type: str
    topic: str
    model: type[Envelope]


def event_routes(kafka: KafkaSettings) -> tuple[EventRoute, ...]:
    """The routes of O1 and the topics of O2."""
    created, updated, cancelled, events = kafka.order_topics
    return (
        EventRoute("/order-created", "order.created", created, OrderEvent),
        EventRoute("/order-updated", "order.updated", updated, OrderEvent),
        EventRoute("/order-cancelled", "order.cancelled", cancelled, OrderEvent),
        EventRoute("/order-status-changed", "order.status_changed", events, StatusChangedEvent),
    )


def events_router(
    routes: tuple[EventRoute, ...], publisher: Publisher, max_body_bytes: int
) -> APIRouter:
    """A router with one POST per route; further forms of sending join here."""
    router = APIRouter(prefix=PREFIX, tags=["events"])
    for route in routes:
        _add(router, route, publisher, max_body_bytes)
    return router


def _add(router: APIRouter, route: EventRoute, publisher: Publisher, max_bytes: int) -> None:
    refusals: dict[int | str, dict[str, Any]] = {
        code: {"model": Refused} for code in (400, 413, 422, 503)
    }

    async def accept(request: Request) -> JSONResponse:
        body = await read_body(request, max_bytes)
        event = check(body, route.event_type)
        headers = [("content-type", b"application/json")]
        traceparent = request.headers.get("traceparent", "")
        if _TRACEPARENT.fullmatch(traceparent):
            headers.append(("traceparent", traceparent.encode()))
        message = Message(route.topic, event.order_id.encode(), body, tuple(headers))
        receipt = await publisher.publish(message)
        log.debug("event_acknowledged", event_id=event.event_id, topic=receipt.topic)
        accepted = Accepted(
            event_id=event.event_id,
            topic=receipt.topic,
            partition=receipt.partition,
            offset=receipt.offset,
        )
        # A finished response: FastAPI would validate and serialise the model once more.
        return JSONResponse(accepted.model_dump(), 202)

    router.add_api_route(
        route.path,
        accept,
        methods=["POST"],
        status_code=202,
        response_model=Accepted,
        responses=refusals,
        name=route.event_type,
        summary=f"Send {route.event_type}",
        description=(
            f"Forwards the body, byte for byte, to `{route.topic}`, keyed by order_id. 202 means "
            "that the broker has it. After 503 repeat with the same `event_id`: should the first "
            "try have arrived as well, the keys downstream make the second one harmless."
        ),
        openapi_extra={"requestBody": _request_body(route.model)},
    )


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Read the body, counting: a chunked one has no length to believe.

    Raises:
        BodyTooLargeError: as soon as the limit is passed; the rest is never read.
    """
    declared = request.headers.get("content-length", "")
    too_large = BodyTooLargeError(f"the body is over {max_bytes} bytes")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)


def _request_body(model: type[Envelope]) -> dict[str, object]:
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": reference}}}
