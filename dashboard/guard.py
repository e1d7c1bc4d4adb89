"""The guard before every page, file and websocket of the console: origin, login, headers."""

from __future__ import annotations

import secrets
from urllib.parse import quote

from fastapi import HTTPException
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.clients import Login, Proxies
from dashboard.sessions import Identity, Sessions

OPEN = frozenset({"/health", "/login", "/style.css", "/favicon.ico"})
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: browsers would then hide the origin of our own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content-Security-Policy. NiceGUI compiles its templates in the browser, by `eval`, and sets
styles in elements; a script in the HTML runs only with the nonce of the response."""


class Guard:
    """ASGI middleware; behind it, `request.state.identity` is who is signed in.

    Args:
        app: the application.
        login: who is signed in.
        proxies: whose headers count.
        sessions: an open websocket ends with its session.
    """

    def __init__(self, app: ASGIApp, login: Login, proxies: Proxies, sessions: Sessions) -> None:
        self._app, self._login, self._proxies, self._sessions = app, login, proxies, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is not allowed; pass on the rest."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        nonce = secrets.token_urlsafe(16)
        identity = self._login.identify(connection)
        scope["state"] = {**scope.get("state", {}), "identity": identity, "nonce": nonce}
        rejection = self._rejection(connection, identity)
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send, identity, refused=rejection is not None)
        else:
            answer = rejection or self._app
            await answer(scope, receive, _with_headers(send, POLICY.format(nonce=nonce)))

    def _rejection(self, connection: HTTPConnection, identity: Identity | None) -> Response | None:
        if self._proxies.from_another_site(connection):
            return PlainTextResponse("This request comes from another site.", 403)
        path = connection.scope["path"]  # as routes see it: that of a URL has no tab
        if identity is not None or path in OPEN:
            return None
        if "text/html" in connection.headers.get("accept", ""):
            target = quote(path + (f"?{query}" if (query := connection.url.query) else ""))
            return RedirectResponse(f"/login?next={target}", 303)
        return PlainTextResponse("Sign in at /login.", 401)

    async def _websocket(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        identity: Identity | None,
        *,
        refused: bool,
    ) -> None:
        if refused or identity is None:
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return

        async def receive_while_signed_in() -> Message:
            message = await receive()
            if self._sessions.use(identity.session):
                return message
            await send({"type": "websocket.close", "code": 1008})
            return {"type": "websocket.disconnect", "code": 1008}

        await self._app(scope, receive_while_signed_in, send)


def _with_headers(send: Send, policy: str) -> Send:
    """Add the security headers to a response; one that brings a policy of its own keeps it."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("Content-Security-Policy", policy)
            headers.setdefault("Cache-Control", "no-store")
            headers.update(HEADERS)
        await send(message)

    return send_with_headers


def require_operator(request: Request) -> Identity:
    """The operator who sends a request; a dependency of every action that changes something.

    Raises:
        HTTPException: 403, for everybody else.
    """
    identity: Identity | None = request.state.identity
    if identity is None or identity.role != "operator":
        raise HTTPException(403, "Only the role operator may do this.")
    return identity
