"""The short way to the event routes, past the framework.

Finding a route and solving dependencies takes FastAPI as long as all that the gateway itself does
with an event. The event routes have fixed paths and read raw bytes, so a look into a dictionary is
enough. FastAPI has the same handlers for its documentation and for every other method.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.rejections import RejectionError
from gateway.responses import answer_rejection

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class DirectRoutes:
    """Passes POST requests of the given paths to their handlers, and all others to the app."""

    def __init__(self, app: ASGIApp, handlers: Mapping[str, Handler], retry_after: int) -> None:
        self._app = app
        self._handlers = handlers
        self._retry_after = retry_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        handler = self._handlers.get(scope["path"]) if scope["type"] == "http" else None
        if handler is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            response = await handler(Request(scope, receive))
        except RejectionError as rejection:
            response = answer_rejection(rejection, self._retry_after)
        await response(scope, receive, send)
