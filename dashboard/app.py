"""The console as an ASGI application: pages, quality reports, one address for supervisors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from nicegui import ui

from conf.settings import Settings
from conf.stores import load_stores
from dashboard.board import Board
from dashboard.pages import add_pages
from dashboard.quality import REPORTS, report_folder
from dashboard.reader import Reader
from dashboard.streams import Topics

ICON = "📈"
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:"
"""Reports carry values of the data: nothing in them may run, or load anything."""


def create_app(settings: Settings) -> FastAPI:
    """The application; once in a process, since NiceGUI has one set of pages.

    Raises:
        SettingsError: there is no password of the console's role, or the store file does not fit.
    """
    reader = Reader(settings.console_dsn, settings.console.query_timeout)
    stores, topics = load_stores(settings.stores_file), Topics(settings.kafka)
    board = Board(settings, stores, reader.look, topics.ends)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        reader.close()

    app = FastAPI(title="storelake console", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.get("/health")
    def health() -> JSONResponse:
        """200 while the console runs; whether its database answers is in the body."""
        away = board.fresh().away
        return JSONResponse({"status": "ok", "database": away.reason if away else "answers"})

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

    add_pages(board)
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


def find_report(folder: Path, name: str) -> Path | None:
    """A page of the report's own folder; None for anything else, wherever it is."""
    page = (folder / name).resolve()
    inside = page.is_relative_to(folder.resolve()) and page.suffix == ".html"
    return page if inside and page.is_file() else None
