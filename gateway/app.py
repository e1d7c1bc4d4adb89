"""The application: routes, limits, rejections and life cycle put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

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
from gateway.operations import OperationsPort, health_router, operations_router
from gateway.postgres_keys import PostgresKeys
from gateway.producer import Publisher
from gateway.recent import RecentIds
from gateway.responses import install_rejections
from gateway.routes import RouteContext, event_handlers, event_routes, events_router

log = structlog.get_logger()
_TITLE, _VERSION = "storelake gateway", "1"


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

    retry_after, port = tuning.retry_after_seconds, tuning.operations_port
    app = _application(retry_after, docs=tuning.serve_docs and not port, lifespan=lifespan)
    operations = _application(retry_after, docs=tuning.serve_docs) if port else app
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
    health = health_router(publisher, kafka.order_topics, retry_after)
    for_operators = operations_router(publisher, metrics, kafka.order_topics, tuning)
    app.include_router(health)
    operations.include_router(for_operators)
    document = _document([*app.routes, *(for_operators.routes if port else ())])
    for one in (app, operations):
        one.openapi = lambda: document  # type: ignore[method-assign]
    app.add_middleware(DirectRoutes, handlers=handlers, retry_after=retry_after)
    if port:
        operations.include_router(health)
        app.add_middleware(OperationsPort, operations=operations, port=port)
    app.add_middleware(Observer, metrics=metrics, routes=frozenset(document["paths"]))
    app.add_middleware(NormalizeRequest)  # the last one is the outermost: it sees every request
    return app


def _application(retry_after: int, *, docs: bool, **options: Any) -> FastAPI:
    """An application without routes, with `/docs` and `/openapi.json` if these are wanted."""
    app = (
        FastAPIOffline(title=_TITLE, version=_VERSION, redoc_url=None, **options)
        if docs
        else FastAPI(title=_TITLE, version=_VERSION, openapi_url=None, **options)
    )
    install_rejections(app, retry_after)
    return app


def _document(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document, with the event models that routes read from raw bytes."""
    schema = get_openapi(title=_TITLE, version=_VERSION, routes=routes)
    _, models = models_json_schema(
        [(model, "validation") for model in (*EVENT_MODELS.values(), STATUS_MODEL)],
        ref_template="#/components/schemas/{model}",
    )
    schema["components"]["schemas"].update(models["$defs"])
    schema["components"]["securitySchemes"] = SECURITY_SCHEMES
    return schema
