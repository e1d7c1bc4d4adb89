"""The console as an ASGI application: pages, quality reports, one address for supervisors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from jinja2 import BaseLoader, Environment
from nicegui import ui
from nicegui.client import templates

from conf.settings import Settings, SettingsError
from conf.settings.base import is_loopback
from conf.stores.watch import StoreFile
from dashboard.alert_sender import make_sender
from dashboard.assets import add_assets
from dashboard.board import Board
from dashboard.clients import Login, NoLogin, PasswordLogin, Proxies, ProxyLogin
from dashboard.dead_letters import DeadLetterPages
from dashboard.guard import Guard
from dashboard.live import Live
from dashboard.live_heat import heat_svg
from dashboard.live_lake import DetectionsReader
from dashboard.login import SignIn
from dashboard.pages import add_pages
from dashboard.quality import REPORTS, report_folder
from dashboard.reader import Reader
from dashboard.redrives import Redrives
from dashboard.sessions import Sessions
from dashboard.streams import Topics
from dashboard.zones import ZoneEditor

ICON = "📈"
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Reports carry values of the data: nothing in them may run, or load anything."""


def create_app(settings: Settings) -> FastAPI:
    """The application; once in a process, since NiceGUI has one set of pages.

    Raises:
        SettingsError: there is no password of the console's role or of a person, the store file
            does not fit, or the login is off beyond loopback.
    """
    reader = Reader(settings.console_dsn, settings.console.query_timeout)
    file, topics = StoreFile(settings.stores_file), Topics(settings.kafka)
    board = Board(settings, file.stores, reader.look, topics.ends, file=file)
    redrives = Redrives(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sender = make_sender(settings, board.fresh)
        sending = asyncio.create_task(sender.run()) if sender else None
        yield
        if sending:
            sending.cancel()
        redrives.close()
        reader.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    sessions = add_guard(app, settings)
    DeadLetterPages(settings, board, redrives).add_to(app)

    @app.get("/health")
    def health() -> JSONResponse:
        """200 while the console runs; whether its database answers is in the body."""
        away = board.fresh().away
        return JSONResponse({"status": "ok", "database": away.reason if away else "answers"})

    add_assets(app, "style.css", "signed_out.js")

    @app.get("/favicon.ico")
    def icon() -> Response:
        """None for the reports, which bring no icon of their own."""
        return Response(status_code=204)

    @app.get(REPORTS)
    def reports() -> RedirectResponse:
        return RedirectResponse(f"{REPORTS}/index.html")

    @app.get(REPORTS + "/{name:path}")
    def report(name: str) -> FileResponse:
        page = find_report(report_folder(settings.var_dir), name)
        if page is None:
            raise HTTPException(404, "There is no such report: `storelake quality report`.")
        return FileResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})

    live = Live(board, DetectionsReader(settings, reader.look))
    ZoneEditor(
        settings,
        reader.look,
        board.use,
        lambda camera, start, end: heat_svg(live.heat.heat_grid(camera, start, end)),
        board.fresh,
    ).add_to(app)
    add_pages(board, sessions, live)
    if templates.env.loader is not None:
        templates.env.loader = NonceLoader(templates.env.loader)
    ui.run_with(
        app,
        title="storelake",
        favicon=ICON,
        dark=None,  # as the system has it
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
    )
    return app


def add_guard(app: FastAPI, settings: Settings) -> Sessions:
    """Put the guard before the application, and the addresses of its login into it.

    Raises:
        SettingsError: no password is set, or the login is off beyond loopback.
    """
    console = settings.console
    sessions = Sessions(console.session_idle, console.session_length)
    proxies = Proxies(console.trusted_proxies)
    login: Login
    if console.login == "password":
        sign_in = SignIn(settings, sessions, proxies)
        sign_in.add_to(app)
        login = PasswordLogin(sessions, sign_in.cookie)
    elif console.login == "proxy":
        login = ProxyLogin(console, proxies)
    elif is_loopback(console.host):
        login = NoLogin()
    else:
        raise SettingsError(
            f"STORELAKE_CONSOLE__HOST={console.host} is not loopback, and the login of the console "
            "is off: set STORELAKE_CONSOLE__LOGIN to password or proxy."
        )
    app.add_middleware(Guard, login=login, proxies=proxies, sessions=sessions)
    return sessions


class NonceLoader(BaseLoader):
    """The templates of NiceGUI, whose own scripts get the nonce of the response."""

    def __init__(self, plain: BaseLoader) -> None:
        self._plain = plain

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        """Source of a template, its file, and whether the file is unchanged."""
        source, file, unchanged = self._plain.get_source(environment, template)
        nonce = '<script nonce="{{ request.state.nonce }}"'
        return source.replace("<script", nonce), file, unchanged


def find_report(folder: Path, name: str) -> Path | None:
    """A page of the report's own folder; None for anything else, wherever it is."""
    with suppress(OSError, ValueError):  # a name that no file can have
        page = (folder / name).resolve()
        inside = page.is_relative_to(folder.resolve()) and page.suffix == ".html"
        return page if inside and page.is_file() else None
    return None
