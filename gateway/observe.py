"""Logs and metrics of the gateway: a JSON line and meters per request, never a payload."""

from __future__ import annotations

import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from conf.traces import HEADER, Trace
from gateway.metrics import NO_ROUTE, GatewayMetrics
from gateway.responses import refuse

log = structlog.get_logger()
CLIENT_GONE = 499  # as nginx writes it: no answer was sent
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Observer:
    """Gives every request an id (its own `X-Request-ID` when sane), logs and meters how it ended.

    The trace (`traceparent`, its own when valid) is sent with its events and back to the client.

    A pure ASGI middleware: it wraps no streams, so a body is still counted while it is read.
    """

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics, routes: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        structlog.contextvars.clear_contextvars()
        caller = Trace.read(Headers(scope=scope).get(HEADER, ""))
        trace = caller.step() if caller else Trace.begin()
        scope[HEADER] = trace.header
        structlog.contextvars.bind_contextvars(request_id=request_id, trace_id=trace.trace_id)
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"], headers[HEADER] = request_id, trace.header
            await send(message)

        with self._metrics.in_flight.track_inprogress():
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:  # before its body was whole: nobody is left to answer
                status = CLIENT_GONE
            except Exception:
                log.exception("request_failed", method=scope["method"], path=scope["path"])
                if status:  # the answer is under way: only the server can break it off now
                    raise
                answer = refuse(500, "internal_error", "an unexpected error; see the log")
                await answer(scope, receive, send_with_id)
        self._ended(scope, status, time.perf_counter() - started)

    def _ended(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"]
        self._metrics.answered(path if path in self._routes else NO_ROUTE, status, seconds)
        log.info(
            "request",
            method=scope["method"],
            path=path,
            status=status,
            ms=round(seconds * 1000, 2),
        )
