"""Style sheet and scripts of the console, beside this module."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

FOLDER = Path(__file__).parent


def add_assets(app: FastAPI, *names: str) -> None:
    """Serve files of the package, each at its name; a browser asks each time for a newer one."""
    for name in names:
        app.get(f"/{name}")(partial(_asset, name))


def _asset(name: str) -> FileResponse:
    return FileResponse(FOLDER / name, headers={"Cache-Control": "no-cache"})
