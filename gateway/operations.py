"""What operators ask: is the process alive, is the broker there, how does it go."""

from __future__ import annotations

import time

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from conf.settings import GatewaySettings
from gateway.metrics import GatewayMetrics
from gateway.producer import BrokerView, Publisher
from gateway.rejections import UnavailableError
from gateway.responses import Refused, refuse


class Broker(BaseModel):
    """One broker of the cluster."""

    id: int
    host: str
    port: int


class Topic(BaseModel):
    """One topic of the product; without partitions it does not exist."""

    name: str
    exists: bool
    partitions: int


class BrokerConnection(BaseModel):
    """What the broker answered."""

    status: str = "connected"
    brokers: list[Broker]
    topics: list[Topic]
    round_trip_ms: float


class OperationsPort:
    """Passes the requests of one listener to the operators' application, all others to the app."""

    def __init__(self, app: ASGIApp, operations: ASGIApp, port: int) -> None:
        self._app = app
        self._operations = operations
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        own = scope["type"] == "http" and scope["server"] and scope["server"][1] == self._port
        await (self._operations if own else self._app)(scope, receive, send)


def health_router(publisher: Publisher, topics: tuple[str, ...], retry_after: int) -> APIRouter:
    """`/health` and `/ready`, on every port.

    Args:
        publisher: whose broker is queried.
        topics: those that the gateway writes to.
        retry_after: seconds, sent to clients while the broker is away.
    """
    router = APIRouter(tags=["operations"])

    @router.get("/health", summary="The process is alive")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @router.get(
        "/ready",
        summary="The broker answers and has the topics",
        response_model=dict[str, str],
        responses={503: {"model": Refused}},
    )
    async def ready() -> JSONResponse:
        try:
            view = await publisher.look()
        except UnavailableError as error:
            return _away("not_ready", error, retry_after)
        missing = sorted(set(topics) - set(view.partitions))
        if missing:
            return _away("not_ready", f"missing topics: {', '.join(missing)}", retry_after)
        return JSONResponse({"status": "ready"})

    return router


def operations_router(
    publisher: Publisher,
    metrics: GatewayMetrics,
    topics: tuple[str, ...],
    settings: GatewaySettings,
) -> APIRouter:
    """`/metrics` and the test of the connection, each if its setting is on.

    Args:
        publisher: whose broker is queried.
        metrics: what `/metrics` shows.
        topics: those that the gateway writes to.
        settings: which of them are served, and the `Retry-After` while the broker is away.
    """
    router = APIRouter(tags=["operations"])
    if settings.serve_metrics:
        _add_metrics(router, metrics)
    if settings.serve_connection_test:
        _add_connection_test(router, publisher, topics, settings.retry_after_seconds)
    return router


def _add_metrics(router: APIRouter, metrics: GatewayMetrics) -> None:
    @router.get(
        "/metrics",
        summary="Meters for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def meters() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _add_connection_test(
    router: APIRouter, publisher: Publisher, topics: tuple[str, ...], retry_after: int
) -> None:
    async def test_connection() -> JSONResponse:
        started = time.perf_counter()
        try:
            view = await publisher.look()
        except UnavailableError as error:
            return _away("broker_unavailable", error, retry_after)
        milliseconds = (time.perf_counter() - started) * 1000
        connection = BrokerConnection(
            brokers=[Broker(id=i, host=host, port=port) for i, host, port in view.brokers],
            topics=[_topic(name, view) for name in topics],
            round_trip_ms=round(milliseconds, 2),
        )
        return JSONResponse(connection.model_dump())

    for method in ("GET", "POST"):
        router.add_api_route(
            "/api/kafka/test-connection",
            test_connection,
            methods=[method],
            name=f"test-connection-{method.lower()}",
            response_model=BrokerConnection,
            responses={503: {"model": Refused}},
            summary="Ask the broker for its topics, and take the time",
            description="One round trip for metadata, each time; nothing is written to any topic.",
        )


def _away(error: str, reason: object, retry_after: int) -> JSONResponse:
    return refuse(503, error, str(reason), headers={"Retry-After": str(retry_after)})


def _topic(name: str, view: BrokerView) -> Topic:
    partitions = view.partitions.get(name, 0)
    return Topic(name=name, exists=name in view.partitions, partitions=partitions)
