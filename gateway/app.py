"""The application: routes, limits, rejections and life cycle put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from conf.settings import Settings
from gateway.branches import KnownBranches
from gateway.callers import SECURITY_SCHEMES, Callers
from gateway.direct_routes import DirectRoutes
from gateway.intake import Intake
from gateway.kafka import KafkaPublisher
from gateway.keys import KeyRing, KeyStore
from gateway.limits import RateLimit
from gateway.metrics import GatewayMetrics
from gateway.models import EVENT_MODELS, STATUS_MODEL
from gateway.normalize import NormalizeRequest
from gateway.observe import Observer
from gateway.operations import operations_router
from gateway.postgres_keys import PostgresKeys
from gateway.producer import Publisher
from gateway.recent import RecentIds
from gateway.responses import install_rejections
from gateway.routes import RouteContext, event_handlers, event_routes, events_router

log = structlog.get_logger()


def create_app(
    settings: Settings, producer: Publisher | None = None, keys: KeyStore | None = None
) -> FastAPI:
    """Build the gateway.

    Args:
        settings: the frozen tree; `kafka`, `gateway`, `postgres` and `stores_file` are read.
        producer: where events go; by default Kafka, which need not be up yet.
        keys: who may send; by default the table in Postgres, which need not be up yet.
    """
    kafka, tuning = settings.kafka, settings.gateway
    publisher = producer or KafkaPublisher(kafka, tuning.ack_timeout_seconds)
    metrics = GatewayMetrics(kafka.order_topics)
    ring = KeyRing(
        keys or PostgresKeys(settings.gateway_dsn),
        tuning.key_cache_seconds,
        tuning.key_outage.total_seconds(),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        log.info("gateway_started", kafka=kafka.bootstrap)
        await ring.refresh()
        reading = asyncio.create_task(ring.keep_fresh())
        yield
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
        await ring.close()
        await publisher.close()  # the server let running requests end before: flush the rest

    app = FastAPI(title="storelake gateway", version="1", lifespan=lifespan)
    install_rejections(app, tuning.retry_after_seconds)
    context = RouteContext(
        intake=Intake(publisher, RecentIds(tuning.remembered_ids), metrics),
        settings=tuning,
        limit=RateLimit(tuning.events_per_second, tuning.burst_events),
        callers=Callers(ring, tuning),
        metrics=metrics,
        branches=KnownBranches(settings.stores_file),
    )
    routes = event_routes(kafka)
    handlers = event_handlers(routes, context)
    app.include_router(events_router(routes, handlers, tuning.max_batch_events))
    app.include_router(
        operations_router(publisher, metrics, kafka.order_topics, tuning.retry_after_seconds)
    )
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    app.add_middleware(DirectRoutes, handlers=handlers, retry_after=tuning.retry_after_seconds)
    app.add_middleware(Observer, metrics=metrics, routes=frozenset(app.openapi()["paths"]))
    app.add_middleware(NormalizeRequest)  # the last one is the outermost: it sees every request
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the event models that routes read from raw bytes."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, models = models_json_schema(
            [(model, "validation") for model in (*EVENT_MODELS.values(), STATUS_MODEL)],
            ref_template="#/components/schemas/{model}",
        )
        schema["components"]["schemas"].update(models["$defs"])
        schema["components"]["securitySchemes"] = SECURITY_SCHEMES
        app.openapi_schema = schema
    return app.openapi_schema
