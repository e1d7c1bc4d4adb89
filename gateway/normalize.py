"""One spelling of a request for all that follows: no trailing slash, and GET for HEAD."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class NormalizeRequest:
    """Removes slashes from the end of a path, and answers HEAD as GET without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if "body" in message else message)

        is_head = scope["method"] == "HEAD"
        method = "GET" if is_head else scope["method"]
        path = scope["path"].rstrip("/") or "/"
        normal = {**scope, "method": method, "path": path}
        await self._app(normal, receive, send_head if is_head else send)
