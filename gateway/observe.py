"""What the gateway tells about itself: a JSON line and meters per request, never a payload."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Any, TextIO
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.metrics import NO_ROUTE, Metrics
from gateway.responses import refuse

log = structlog.get_logger()
CLIENT_GONE = 499  # as nginx writes it: no answer was sent
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Send our log lines, and those of libraries, as JSON to `stream` (stderr by default).

    Ours go straight to the stream: there is one for every request, and the standard library would
    take as long to write it as the gateway takes to check an event.
    """
    out = stream or sys.stderr
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
    )


class Observer:
    """Gives every request an id (its own `X-Request-ID` when sane), logs and meters how it ended.

    A pure ASGI middleware: it wraps no streams, so a body is still counted while it is read.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str]) -> None:
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
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
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
