"""Signing in by password or link, and out again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import SecretStr
from starlette.concurrency import run_in_threadpool

from conf.settings import ConsoleSettings, Settings, SettingsError
from dashboard.clients import Proxies
from dashboard.forms import read_form
from dashboard.guard import require_operator
from dashboard.pages import PAGES
from dashboard.sections import render
from dashboard.sessions import Attempts, Identity, Passwords, Role, Sessions
from dashboard.tickets import redeem

MOST_BODY = 4096
POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
TOO_MANY = "Too many attempts failed: wait a minute."
WRONG = "This password is not right."
USED = "This link is used or too old: make another one, or give the password."


def passwords(settings: ConsoleSettings) -> Passwords:
    """Digests of the passwords that are set.

    Raises:
        SettingsError: none is.
    """
    named: dict[Role, SecretStr | None] = {
        "operator": settings.operator_password,
        "viewer": settings.viewer_password,
    }
    found = {role: one.get_secret_value() for role, one in named.items() if one is not None}
    if not found:
        raise SettingsError(
            "STORELAKE_CONSOLE__OPERATOR_PASSWORD is not set: run `storelake restart`, which "
            "generates one on this machine, or set it (docs/CONSOLE.md)."
        )
    return Passwords(found)


class SignIn:
    """The requests that begin and end sessions.

    Args:
        settings: of the deployment.
        sessions: those that last.
        proxies: whose headers count.
    """

    def __init__(self, settings: Settings, sessions: Sessions, proxies: Proxies) -> None:
        self._var_dir: Path = settings.var_dir
        self._length = int(settings.console.session_length.total_seconds())
        self._passwords = passwords(settings.console)
        self._sessions, self._proxies, self._attempts = sessions, proxies, Attempts()
        self.cookie = f"storelake-console-{settings.console.port}"

    def add_to(self, app: FastAPI) -> None:
        """Register the addresses."""
        app.get("/login")(self.page)
        app.post("/login")(self.sign_in)
        app.post("/logout")(self.sign_out)
        app.post("/sign-out-everybody")(self.sign_out_everybody)

    async def page(self, request: Request) -> Response:
        """The form; with a good ticket in the address a session of an operator.

        Tickets are not counted as attempts: nobody guesses one, and any page may request them.
        """
        token = request.query_params.get("ticket")
        if token is None:
            return _form(request)
        if not redeem(self._var_dir, token):
            return _form(request, USED, 403)
        return self._begin(request, "operator")

    async def sign_in(self, request: Request) -> Response:
        """A session for who gives a password, else the form with the reason."""
        address = self._proxies.client_address(request)
        if not self._attempts.begin(address):
            return _form(request, TOO_MANY, 429)
        form = await read_form(request, MOST_BODY)
        if form is None or "password" not in form:
            return _form(request, WRONG, 403)
        role = await run_in_threadpool(self._passwords.role_of, form["password"])
        if role is None:
            return _form(request, WRONG, 403)
        self._attempts.succeed(address)
        return self._begin(request, role)

    async def sign_out(self, request: Request) -> Response:
        """End the session of this browser."""
        self._sessions.end(request.state.identity.session)
        return self._without_cookie()

    async def sign_out_everybody(
        self, _: Annotated[Identity, Depends(require_operator)]
    ) -> Response:
        """End all sessions, of whomever."""
        self._sessions.end_all()
        return self._without_cookie()

    def _begin(self, request: Request, role: Role) -> Response:
        response = RedirectResponse(_target(request), 303)
        response.set_cookie(
            self.cookie,
            self._sessions.begin(role),
            max_age=self._length,
            httponly=True,
            samesite="lax",
            secure=self._proxies.https(request),
        )
        return response

    def _without_cookie(self) -> Response:
        response = RedirectResponse("/login", 303)
        response.delete_cookie(self.cookie, httponly=True, samesite="lax")
        return response


def _target(request: Request) -> str:
    """The page that was asked for before; the first one in place of anything that is no page."""
    try:
        parts = urlsplit(request.query_params.get("next", "/"))
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or parts.path not in PAGES:
        return "/"
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _form(request: Request, reason: str = "", status: int = 200) -> Response:
    target = _target(request)
    html = render("login", reason=reason, target=target)
    return HTMLResponse(html, status, headers={"Content-Security-Policy": POLICY})
