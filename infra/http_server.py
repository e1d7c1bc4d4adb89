"""The HTTP server of the gateway and the console: uvicorn, with deadlines and limits of its own.

uvicorn bounds neither the time of a head and a body nor the size of a head (docs/adr/0049).
"""

from __future__ import annotations

import json
import math
import signal
import socket
import sys
from asyncio import TimerHandle, Transport
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn

import structlog
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from conf.settings import HttpSettings

log = structlog.get_logger()
_FLUSH_SECONDS = 5.0
_BAD = (400, "bad_request", "this is no HTTP/1.1 request")
_HEAD_TOO_LARGE = (431, "headers_too_large", "the head of the request is too large")
_LATE = (408, "request_timeout", "the request did not arrive in time")
_FULL = (503, "too_many_connections", "too many connections are open")


class GuardedProtocol(HttpToolsProtocol):
    """One connection: it is closed when a head, a body, a pause or a reader takes too long.

    Attributes:
        deadline: on the clock of the event loop; infinite while the application works.
    """

    deadline = math.inf

    def __init__(self, http: HttpSettings, open_port: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._http = http
        self._open_port = open_port
        self._in_head, self._in_body = True, False
        self._idle_bytes = 0  # received since the last head or piece of a body was whole
        self._verdict = _BAD
        self._stalled: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Refuse a connection above the limit; that of operators is always taken."""
        super().connection_made(transport)
        self._expect(self._http.head_seconds)
        public = self.server is None or self.server[1] == self._open_port
        if public and len(self.connections) > self._http.max_connections:
            self._refuse(*_FULL)

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse what grows without end: heads, trailers, extensions of chunks."""
        self._idle_bytes += len(data)
        super().data_received(data)
        if self._idle_bytes > self._http.max_head_bytes and not self.transport.is_closing():
            self._refuse(*_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        self._expect(self._http.head_seconds)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse trailers: nothing reads them."""
        if not self._in_head:
            raise ValueError("a trailer")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Refuse a large head that came at once."""
        self._idle_bytes = 0
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._http.max_head_bytes:
            self._verdict = _HEAD_TOO_LARGE
            raise ValueError("a large head")
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        self._expect(self._http.body_seconds)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: what follows is the application's time."""
        self._idle_bytes, self._in_body = 0, False
        super().on_message_complete()
        self.deadline = math.inf
        self._expect_next()

    def on_response_complete(self) -> None:
        """The client may send its next request."""
        super().on_response_complete()
        self._expect_next()

    def send_400_response(self, _: str) -> None:
        """Uvicorn's answer when the parser or one of the functions above fails."""
        self._refuse(*self._verdict)

    def pause_writing(self) -> None:
        """The client does not read: it has as long as a body."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self._http.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without a next request."""
        self._close()

    def end_if_late(self) -> None:
        """Close the connection if its deadline is over."""
        if self.deadline < self.loop.time():
            self._refuse(*_LATE)

    def _expect(self, seconds: float) -> None:
        self.deadline = self.loop.time() + seconds

    def _expect_next(self) -> None:
        answered = self.cycle is not None and self.cycle.response_complete
        if answered and not (self._in_head or self._in_body):
            self._expect(self._http.idle_seconds + 1)  # uvicorn's own timer is first

    def _refuse(self, status: int, error: str, message: str) -> None:
        log.info("connection_refused", status=status, error=error, client=self.client)
        if self._may_answer():
            body = json.dumps({"error": error, "message": message, "fields": []}).encode()
            headers = [*self.server_state.default_headers, (b"content-type", b"application/json")]
            headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
            lines = [b"%s: %s\r\n" % header for header in headers]
            self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self._close()

    def _may_answer(self) -> bool:
        """Whether an answer now would be that of the request that is refused, and of no other."""
        if self._in_body:
            return not (self.pipeline or self.cycle.response_started)
        return self.cycle is None or self.cycle.response_complete

    def _close(self) -> None:
        self.deadline = math.inf
        if not self.transport.is_closing():
            self.transport.close()
            # A client that reads nothing would keep the last answer in the buffer for ever.
            self.loop.call_later(_FLUSH_SECONDS, self.transport.abort)


class HttpServer(uvicorn.Server):
    """A server of one application on one or more listeners.

    Args:
        app: what answers.
        http: deadlines and limits.
        addresses: host and port of each listener; the limit of connections counts for the first.
        stop_seconds: time for running requests at the end.
        headers: of every answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        http: HttpSettings,
        addresses: Sequence[tuple[str, int]],
        stop_seconds: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._addresses = addresses
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(GuardedProtocol, http, addresses[0][1]),  # type: ignore[arg-type]
                log_config=None,  # its lines join ours, as JSON
                access_log=False,
                server_header=False,
                proxy_headers=False,  # who believes a proxy names its address
                headers=list((headers or {}).items()),
                timeout_keep_alive=int(http.idle_seconds),
                timeout_graceful_shutdown=stop_seconds,
            )
        )

    def serve_until_stopped(self) -> None:
        """Listen and answer until SIGINT, SIGTERM or `should_exit`; exit if it cannot start."""
        with suppress(KeyboardInterrupt):
            self.run([_listen(host, port) for host, port in self._addresses])
        if not self.started:
            sys.exit(1)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; the connections are looked at once."""
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if isinstance(connection, GuardedProtocol):
                    connection.end_if_late()
        return await super().on_tick(counter)


def end_well_on_sigterm() -> None:
    """Let SIGTERM end this process with code 0: a signal to stop is no error.

    uvicorn ends in order first, and then raises the signal again for the earlier handler.
    """
    signal.signal(signal.SIGTERM, _end_well)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _end_well(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)
