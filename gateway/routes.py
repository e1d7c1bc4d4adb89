"""`POST /api/kafka/events/...`: order events, one or many a request, answered after the ack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from conf import traces
from conf.contracts.order_event import EVENT_TYPES, STATUS_CHANGED, event_path, full_event_types
from conf.contracts.topics import event_topics
from conf.gateway_keys import WRITE_ORDERS
from conf.settings import GatewaySettings, KafkaSettings
from gateway.bodies import ENCODINGS, read_body
from gateway.branches import KnownBranches
from gateway.callers import SECURITY_SCHEMES, Callers
from gateway.direct_routes import Handler
from gateway.events import CheckedEvent, check, check_batch
from gateway.intake import Headers, Intake
from gateway.keys import Key
from gateway.limits import RateLimit
from gateway.metrics import GatewayMetrics
from gateway.models import EVENT_MODELS, STATUS_MODEL, ContractModel
from gateway.rejections import RejectionError
from gateway.responses import Accepted, BatchAnswer, Refused, batch_taken, taken

PREFIX, BATCH = "/api/kafka/events", "/batch"
_JSON = ("content-type", b"application/json")
_EVENT_BYTES = 1024
"""An order of a few lines; by it the size of a request is charged as events."""
_SECURITY: list[dict[str, list[str]]] = [{scheme: []} for scheme in SECURITY_SCHEMES]


@dataclass(frozen=True)
class EventRoute:
    """One route: the event types that it takes, and the topic where they go."""

    path: str
    event_types: frozenset[str]
    topic: str
    models: tuple[type[ContractModel], ...]

    @property
    def takes(self) -> str:
        """The types in words."""
        return "any event" if len(self.event_types) > 1 else next(iter(self.event_types))


def event_routes(kafka: KafkaSettings) -> tuple[EventRoute, ...]:
    """One route for each type of event, and `/generic` for all of them."""
    full = tuple(EVENT_MODELS.values())
    single = (
        EventRoute(
            f"/{event_path(event_type)}",
            frozenset({event_type}),
            topic,
            _models_of(event_type),
        )
        for event_type, topic in event_topics(kafka).items()
    )
    every = EventRoute(
        "/generic", frozenset(EVENT_TYPES), kafka.order_events, (*full, STATUS_MODEL)
    )
    return (*single, every)


def _models_of(event_type: str) -> tuple[type[ContractModel], ...]:
    if event_type == STATUS_CHANGED:
        return (STATUS_MODEL,)
    return tuple(m for v, m in EVENT_MODELS.items() if event_type in full_event_types(v))


@dataclass(frozen=True)
class RouteContext:
    """What every event route needs."""

    intake: Intake
    settings: GatewaySettings
    limit: RateLimit
    callers: Callers
    metrics: GatewayMetrics
    branches: KnownBranches

    async def admit(self, request: Request, topic: str, max_bytes: int) -> Charge:
        """Find the key of a request and charge it for what is declared, by the headers alone.

        Raises:
            RejectionError: without a valid key, or while the key has no event left.
        """
        most = self.settings.max_batch_events
        reserved = min(_declared_events(request, max_bytes), most)
        try:
            key = await self.callers.authenticate(request, WRITE_ORDERS)
            self.limit.admit(key.id, reserved)
        except RejectionError as rejection:
            self.metrics.events(topic, rejection.error)
            raise
        return Charge(key, self.limit, reserved)


@dataclass
class Charge:
    """What a request was charged so far, in events."""

    key: Key
    limit: RateLimit
    charged: int

    def adjust(self, events: int) -> None:
        """Charge so many events in all: give back what was too much."""
        self.limit.charge(self.key.id, events - self.charged)
        self.charged = events

    def refuse(self, body: bytes) -> None:
        """Charge a refused request by its size: parsing takes as long as that of good events."""
        self.adjust(max(self.charged, len(body) // _EVENT_BYTES))

    def own(self, event: CheckedEvent) -> CheckedEvent:
        """The event; raise `ForbiddenError` where its branch is not one of the key's."""
        self.key.require_branch(event.branch_id, event.event_id)
        return event


def _declared_events(request: Request, max_bytes: int) -> int:
    """How many events a body has by its size; as many as it may have where that is not stated."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or "content-encoding" in request.headers:
        return max(1, max_bytes // _EVENT_BYTES)
    return max(1, min(int(length), max_bytes) // _EVENT_BYTES)


def event_handlers(routes: tuple[EventRoute, ...], context: RouteContext) -> dict[str, Handler]:
    """The handler of each path: every route for one event, and for a batch."""
    handlers: dict[str, Handler] = {}
    for route in routes:
        handlers[PREFIX + route.path] = _single(route, context)
        handlers[PREFIX + route.path + BATCH] = _batch(route, context)
    return handlers


def events_router(
    routes: tuple[EventRoute, ...], handlers: dict[str, Handler], max_batch_events: int
) -> APIRouter:
    """The handlers with their descriptions in the OpenAPI document."""
    router = APIRouter(tags=["events"])
    for route in routes:
        path = PREFIX + route.path
        _add_single(router, path, handlers[path], route)
        _add_batch(router, path + BATCH, handlers[path + BATCH], route, max_batch_events)
    return router


def _single(route: EventRoute, context: RouteContext) -> Handler:
    max_bytes = context.settings.max_body_bytes

    async def accept(request: Request) -> Response:
        charge = await context.admit(request, route.topic, max_bytes)
        body = b""
        try:
            body = await read_body(request, max_bytes)
            event = charge.own(check(body, route.event_types, context.branches.current()))
        except RejectionError as rejection:
            charge.refuse(body)
            context.metrics.events(route.topic, rejection.error)
            raise
        charge.adjust(1)
        (result,) = await context.intake.take([event], route.topic, _headers(request))
        if isinstance(result, RejectionError):
            raise result
        return taken(result)

    return accept


def _batch(route: EventRoute, context: RouteContext) -> Handler:
    settings = context.settings

    async def accept_batch(request: Request) -> Response:
        charge = await context.admit(request, route.topic, settings.max_batch_bytes)
        body = b""
        try:
            body = await read_body(request, settings.max_batch_bytes)
            checked = check_batch(
                body,
                route.event_types,
                settings.max_batch_events,
                settings.max_body_bytes,
                context.branches.current(),
            )
        except RejectionError as rejection:
            charge.refuse(body)
            context.metrics.events(route.topic, rejection.error)
            raise
        events = [_owned(event, charge) for event in checked]
        charge.adjust(len(events))
        if any(isinstance(event, RejectionError) for event in events):
            charge.refuse(body)
        results = await context.intake.take(events, route.topic, _headers(request))
        return batch_taken(results, settings.retry_after_seconds)

    return accept_batch


def _owned(event: CheckedEvent | RejectionError, charge: Charge) -> CheckedEvent | RejectionError:
    """The event of a batch, or why it is refused; one of another branch is refused alone."""
    if isinstance(event, RejectionError):
        return event
    try:
        return charge.own(event)
    except RejectionError as rejection:
        return rejection


def _add_single(router: APIRouter, path: str, handler: Handler, route: EventRoute) -> None:
    router.add_api_route(
        path,
        handler,
        methods=["POST"],
        status_code=202,
        response_model=Accepted,
        responses={
            200: {"model": Accepted, "description": "The broker had this event before"},
            **_rejections(400, 401, 403, 409, 413, 415, 422, 429, 503),
        },
        name=route.path.removeprefix("/"),
        summary=f"Send {route.takes}",
        description=(
            f"Sends the body, byte for byte, to `{route.topic}`, keyed by order_id. 202 means "
            "that the broker has it; 200 that it already had it, with the same `event_id` and "
            "the same content, however its JSON is written; 409 that it had other content with "
            "this id, whose letters may be upper or lower case. "
            f"The body may be compressed ({ENCODINGS}), within the same limit. After 503 repeat "
            "with the same `event_id`: should the first try have arrived as well, the keys "
            "downstream make the second one harmless."
        ),
        openapi_extra={"requestBody": _request_body(_schema(route)), "security": _SECURITY},
    )


def _add_batch(
    router: APIRouter, path: str, handler: Handler, route: EventRoute, max_events: int
) -> None:
    events = {"type": "array", "minItems": 1, "maxItems": max_events, "items": _schema(route)}
    router.add_api_route(
        path,
        handler,
        methods=["POST"],
        status_code=202,
        response_model=BatchAnswer,
        responses={
            207: {"model": BatchAnswer, "description": "Some events were refused; see each result"},
            **_rejections(400, 401, 403, 413, 415, 422, 429, 503),
        },
        name=f"{route.path.removeprefix('/')}-batch",
        summary=f"Send many: {route.takes}",
        description=(
            f"Forwards each element, byte for byte, to `{route.topic}`. Events of one order keep "
            "their order. Each result has the status that the event alone would have had. 202 "
            "means that the broker has them all; after 207 repeat those with status 503."
        ),
        openapi_extra={"requestBody": _request_body(events), "security": _SECURITY},
    )


def _headers(request: Request) -> Headers:
    """The headers of a message: the trace of its request continues."""
    return (_JSON, (traces.HEADER, request.scope[traces.HEADER].encode()))


def _rejections(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Refused} for status in statuses}


def _schema(route: EventRoute) -> dict[str, Any]:
    references = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in route.models]
    return references[0] if len(references) == 1 else {"oneOf": references}


def _request_body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}
