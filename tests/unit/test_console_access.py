"""Who gets into the console: origins, sessions, passwords, headers of proxies, links."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.testclient import TestClient
from httpx import Response
from pydantic import SecretStr, ValidationError
from starlette.types import Message, Receive
from starlette.websockets import WebSocket, WebSocketDisconnect

from conf.settings import ConsoleSettings, SettingsError, load_settings
from dashboard import login as login_module
from dashboard.app import add_guard
from dashboard.forms import read_form
from dashboard.guard import require_operator
from dashboard.sessions import ATTEMPTS_EACH, ATTEMPTS_IN_ALL, Attempts, Sessions
from dashboard.tickets import redeem, sign_in_url

URL = "http://127.0.0.1:8600"
SOCKET = "ws://127.0.0.1:8600/socket"
OPERATOR, VIEWER = "operator-of-the-shop", "viewer-of-the-shop"
PROXY: dict[str, Any] = {"login": "proxy", "trusted_proxies": ("10.1.0.0/16",)}
HTML = {"Accept": "text/html"}


def client(
    tmp_path: Path, peer: str = "127.0.0.1", url: str = URL, **changes: object
) -> TestClient:
    """A browser at `peer` before a console with one page, one action and one websocket."""
    passwords = {"operator_password": OPERATOR, "viewer_password": VIEWER}
    console = ConsoleSettings.model_validate({**passwords, **changes})
    settings = load_settings(profile="test", var_dir=tmp_path)
    app = FastAPI()
    add_guard(app, settings.model_copy(update={"console": console}))

    @app.get("/store")
    def page(request: Request) -> dict[str, str]:
        who = request.state.identity
        return {"name": who.name, "role": who.role}

    @app.post("/change", dependencies=[Depends(require_operator)])
    def change() -> None: ...

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(text)

    return TestClient(app, base_url=url, client=(peer, 50000), follow_redirects=False)


def sign_in(browser: TestClient, password: str, origin: str = URL) -> Response:
    browser.cookies.clear()
    form, headers = {"password": password}, {"Origin": origin}
    response: Response = browser.post("/login", data=form, headers=headers)
    return response


def take(browser: TestClient, cookies: Mapping[str, str]) -> None:
    """A browser that has kept its cookies."""
    browser.cookies.clear()
    browser.cookies.update(dict(cookies))


def connect(browser: TestClient, origin: str | None = URL) -> str:
    headers = {"Origin": origin} if origin else {}
    with browser.websocket_connect(SOCKET, headers=headers) as one:
        one.send_text("hello")
        return one.receive_text()


def test_without_a_session_only_login_style_and_health_are_open(tmp_path: Path) -> None:
    browser = client(tmp_path)
    page = browser.get("/store?branch=B02", headers=HTML)
    assert page.headers["location"] == "/login?next=/store%3Fbranch%3DB02"
    assert browser.get("/store").status_code == 401
    assert browser.get("/lo%09gin").status_code == 401
    assert browser.get("/_nicegui/static/nicegui.js").status_code == 401
    assert browser.get("/login").status_code == 200
    with pytest.raises(WebSocketDisconnect):
        connect(browser)


@pytest.mark.parametrize(("password", "role"), [(OPERATOR, "operator"), (VIEWER, "viewer")])
def test_a_password_signs_in_with_its_role(tmp_path: Path, password: str, role: str) -> None:
    browser = client(tmp_path)
    cookie = sign_in(browser, password).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie  # over plain HTTP a browser would drop it
    assert browser.get("/store").json()["role"] == role
    allowed = browser.post("/change", headers={"Origin": URL}).status_code
    assert allowed == (200 if role == "operator" else 403)
    assert connect(browser) == "hello"


@pytest.mark.parametrize("body", ["password=wrong", "", "password=a&password=b", "%ff=%ff"])
def test_what_is_no_right_password_is_refused(tmp_path: Path, body: str) -> None:
    refused = client(tmp_path).post("/login", content=body, headers={"Origin": URL})
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers


def test_every_supported_python_signs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(asyncio, "timeout", raising=False)  # Python 3.10 has none
    assert sign_in(client(tmp_path), VIEWER).status_code == 303


def test_a_form_that_comes_too_slowly_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.forms.BODY_SECONDS", 0.01)

    async def silent() -> Message:
        await asyncio.Event().wait()
        return {}

    assert form_of(silent) is None


def test_a_form_that_breaks_off_is_none() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    assert form_of(gone) is None


def form_of(receive: Receive) -> Mapping[str, str] | None:
    """What the console reads of a browser's form."""
    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    return asyncio.run(asyncio.wait_for(read_form(request, 100), 10))


def test_a_large_form_is_not_read(tmp_path: Path) -> None:
    body = f"password={OPERATOR}&more={'x' * 10_000_000}"
    assert client(tmp_path).post("/login", content=body, headers={"Origin": URL}).status_code == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:3000", "http://[", "http://[::1", None],
)
def test_another_origin_neither_changes_anything_nor_opens_a_websocket(
    tmp_path: Path, origin: str | None
) -> None:
    browser = client(tmp_path)
    sign_in(browser, OPERATOR)
    headers = {"Origin": origin} if origin else {}
    assert browser.post("/change", headers=headers).status_code == 403
    assert browser.post("/logout", headers=headers).status_code == 403
    with pytest.raises(WebSocketDisconnect):
        connect(browser, origin)
    assert browser.get("/store").status_code == 200


def test_who_signs_out_is_out_with_pages_that_are_open_and_an_operator_ends_all(
    tmp_path: Path,
) -> None:
    browser = client(tmp_path)
    sign_in(browser, VIEWER)
    kept = dict(browser.cookies)
    with browser.websocket_connect(SOCKET, headers={"Origin": URL}) as one:
        browser.post("/logout", headers={"Origin": URL})
        one.send_text("hello")
        with pytest.raises(WebSocketDisconnect):
            one.receive_text()
    take(browser, kept)
    assert browser.get("/store").status_code == 401
    sign_in(browser, VIEWER)
    viewer = dict(browser.cookies)
    assert browser.post("/sign-out-everybody", headers={"Origin": URL}).status_code == 403
    sign_in(browser, OPERATOR)
    assert browser.post("/sign-out-everybody", headers={"Origin": URL}).status_code == 303
    take(browser, viewer)
    assert browser.get("/store").status_code == 401


def test_a_session_ends_when_nobody_uses_it_and_after_its_length() -> None:
    now = [0.0]
    sessions = Sessions(timedelta(minutes=30), timedelta(hours=2), lambda: now[0])
    idle, used = sessions.begin("viewer"), sessions.begin("operator")
    for minute in range(20, 120, 20):
        now[0] = minute * 60
        assert sessions.find(used)
    assert sessions.find(idle) is None
    now[0] = 7200
    assert sessions.find(used) is None
    assert sessions.find("made up") is None


def test_failed_attempts_are_counted_by_address_and_in_all_and_a_right_one_is_not() -> None:
    now = [0.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(ATTEMPTS_EACH + 1):
        assert attempts.begin("10.0.0.1")
        attempts.succeed("10.0.0.1")
    admitted = sum(attempts.begin("10.0.0.1") for _ in range(2 * ATTEMPTS_EACH))
    assert admitted == ATTEMPTS_EACH
    assert attempts.begin("10.0.0.2")
    admitted += 1 + sum(attempts.begin(f"10.0.1.{n}") for n in range(2 * ATTEMPTS_IN_ALL))
    assert admitted == ATTEMPTS_IN_ALL
    now[0] = 60
    assert attempts.begin("10.0.0.1")


def test_after_too_many_wrong_passwords_the_right_one_has_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_module, "Attempts", lambda: Attempts(lambda: 0.0))
    browser = client(tmp_path)
    for _ in range(ATTEMPTS_EACH):
        # An address that the client makes up is no other address.
        headers = {"Origin": URL, "X-Forwarded-For": "9.9.9.9"}
        assert browser.post("/login", content="", headers=headers).status_code == 403
    assert sign_in(browser, OPERATOR).status_code == 429


def test_pictures_of_another_site_use_up_no_attempts(tmp_path: Path) -> None:
    browser = client(tmp_path)
    for _ in range(ATTEMPTS_EACH):
        assert browser.get("/login?ticket=made-up").status_code == 403
    assert sign_in(browser, OPERATOR).status_code == 303


def test_a_client_of_ipv6_has_the_attempts_of_one_with_whatever_address_of_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login_module, "Attempts", lambda: Attempts(lambda: 0.0))
    browser = client(tmp_path, peer="10.1.0.1", trusted_proxies=("10.1.0.0/16",))

    def attempt(address: str) -> int:
        headers = {"Origin": URL, "X-Forwarded-For": address}
        return int(browser.post("/login", content="", headers=headers).status_code)

    assert {attempt(f"2001:db8::{n}") for n in range(ATTEMPTS_EACH)} == {403}
    assert attempt("2001:db8::ffff") == 429
    assert attempt("2001:db8:1::1") == 403


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/store?branch=B02", "/store?branch=B02"),
        *((one, "/") for one in ("//evil.example/store", "https://evil.example", "/\\evil", "x")),
        *((one, "/") for one in ("/%0a/evil.example", "//[", "javascript:alert(1)", "/logout")),
    ],
)
def test_a_login_leads_to_a_page_and_nowhere_else(
    tmp_path: Path, target: str, location: str
) -> None:
    browser = client(tmp_path)
    response = browser.post(
        "/login", params={"next": target}, data={"password": VIEWER}, headers={"Origin": URL}
    )
    assert response.headers["location"] == location


def test_every_response_has_the_headers_of_security(tmp_path: Path) -> None:
    browser = client(tmp_path)
    for response in (browser.get("/login"), browser.get("/x"), browser.post("/login")):
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"
        assert "camera=()" in response.headers["permissions-policy"]


def test_a_link_signs_an_operator_in_once(tmp_path: Path) -> None:
    browser = client(tmp_path)
    settings = load_settings(profile="test", var_dir=tmp_path)
    path = sign_in_url(settings).removeprefix(settings.console.url)
    assert (tmp_path / "run" / "console-ticket.json").stat().st_mode & 0o077 == 0
    assert browser.get("/login?ticket=made-up").status_code == 403
    assert browser.get(path).headers["location"] == "/"
    assert browser.get("/store").json()["role"] == "operator"
    assert browser.get(path).status_code == 403


def test_a_link_is_good_for_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(profile="test", var_dir=tmp_path)
    token = sign_in_url(settings).partition("ticket=")[2]
    monkeypatch.setattr("dashboard.tickets.SECONDS", -1)
    late = sign_in_url(settings).partition("ticket=")[2]
    assert not redeem(tmp_path, token)  # the newer one has replaced it
    assert not redeem(tmp_path, late)


def proxied(tmp_path: Path, peer: str, headers: Mapping[str, str], **changes: Any) -> Response:
    browser = client(tmp_path, peer, **PROXY, **changes)
    response: Response = browser.get("/store", headers=dict(headers))
    return response


def test_a_trusted_proxy_names_user_and_role_and_nobody_else_does(tmp_path: Path) -> None:
    headers = {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "staff, storelake-operators"}
    assert proxied(tmp_path, "10.1.2.3", headers).json() == {"name": "ada", "role": "operator"}
    assert proxied(tmp_path, "::ffff:10.1.2.3", headers).status_code == 200
    assert proxied(tmp_path, "10.2.0.1", headers).status_code == 401
    chained = {**headers, "X-Forwarded-For": "10.1.2.3"}
    assert proxied(tmp_path, "10.2.0.1", chained).status_code == 401
    assert proxied(tmp_path, "10.1.2.3", {"X-Forwarded-Groups": "staff"}).status_code == 401
    viewer = {"X-Forwarded-User": "bob"}
    assert proxied(tmp_path, "10.1.2.3", viewer).json()["role"] == "viewer"
    assert proxied(tmp_path, "10.1.2.3", viewer, viewer_group="staff").status_code == 401


def test_a_name_that_is_sent_twice_is_no_name(tmp_path: Path) -> None:
    twice = [("X-Forwarded-User", "ada"), ("X-Forwarded-User", "root")]
    browser = client(tmp_path, "10.1.2.3", **PROXY)
    assert browser.get("/store", headers=twice).status_code == 401


def test_behind_a_proxy_with_tls_the_cookie_is_secure_and_the_host_that_of_the_browser(
    tmp_path: Path,
) -> None:
    browser = client(tmp_path, "10.1.2.3", trusted_proxies=("10.1.2.3",))
    headers = {
        "Origin": "https://shop.example",
        "X-Forwarded-Host": "shop.example",
        "X-Forwarded-Proto": "https",
    }
    signed_in = browser.post("/login", data={"password": VIEWER}, headers=headers)
    assert "Secure" in signed_in.headers["set-cookie"]
    unknown = client(tmp_path, "10.9.9.9", trusted_proxies=("10.1.2.3",))
    refused = unknown.post("/login", data={"password": VIEWER}, headers=headers)
    assert refused.status_code == 403


def test_without_a_login_only_this_machine_sees_anything(tmp_path: Path) -> None:
    assert client(tmp_path, login="off").get("/store").json()["role"] == "viewer"
    rebound = client(tmp_path, url="http://evil.example:8600", login="off")
    assert rebound.get("/store").status_code == 401
    assert rebound.get("/store", headers={"Host": "["}).status_code == 401
    for host in ("::", "192.168.1.5", "shop.local"):
        with pytest.raises(SettingsError, match="is not loopback"):
            client(tmp_path, login="off", host=host)


def test_a_console_without_passwords_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="OPERATOR_PASSWORD is not set"):
        client(tmp_path, operator_password=None, viewer_password=None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"operator_password": "short"},
        {"operator_password": OPERATOR, "viewer_password": OPERATOR},
        {"login": "proxy"},
        {"trusted_proxies": ["10.1.0.0/99"]},
    ],
)
def test_settings_that_let_too_many_in_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ConsoleSettings.model_validate(wrong)


def test_a_password_is_in_no_text_of_the_settings() -> None:
    assert OPERATOR not in repr(ConsoleSettings(operator_password=SecretStr(OPERATOR)))
