"""The application: routes, health, refusals and life cycle put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic.json_schema import models_json_schema

from conf.settings import Settings
from gateway.models import OrderEvent, StatusChangedEvent
from gateway.observe import RequestLog
from gateway.producer import KafkaPublisher, Publisher, UnavailableError
from gateway.responses import install_refusals, refuse
from gateway.routes import event_routes, events_router

log = structlog.get_logger(__name__)


def create_app(settings: Settings, producer: Publisher | None = None) -> FastAPI:
    """Build the gateway.

    Args:
        settings: the frozen tree; only `kafka` and `gateway` are read.
        producer: where events go; by default Kafka, which need not be up yet.
    """
    publisher = producer or KafkaPublisher(settings.kafka, settings.gateway.ack_timeout_seconds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        log.info("gateway_started", kafka=settings.kafka.bootstrap)
        yield
        await publisher.close()  # the server let running requests end before: flush the rest

    app = FastAPI(title="storelake gateway", version="1", lifespan=lifespan)
    app.add_middleware(RequestLog)
    install_refusals(app, settings.gateway.retry_after_seconds)
    routes = event_routes(settings.kafka)
    app.include_router(events_router(routes, publisher, settings.gateway.max_body_bytes))
    _add_health(app, publisher, settings.kafka.order_topics, settings.gateway.retry_after_seconds)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _add_health(
    app: FastAPI, publisher: Publisher, topics: tuple[str, ...], retry_after_seconds: int
) -> None:
    @app.get("/health", tags=["operations"], summary="The process is alive")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/ready", tags=["operations"], summary="The broker answers and has the topics")
    async def ready() -> JSONResponse:
        try:
            await publisher.ready(topics)
        except UnavailableError as error:
            headers = {"Retry-After": str(retry_after_seconds)}
            return refuse(503, "not_ready", str(error), headers=headers)
        return JSONResponse({"status": "ready"})


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the event models that routes read from raw bytes."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, models = models_json_schema(
            [(OrderEvent, "validation"), (StatusChangedEvent, "validation")],
            ref_template="#/components/schemas/{model}",
        )
        schema["components"]["schemas"].update(models["$defs"])
        app.openapi_schema = schema
    return app.openapi_schema
