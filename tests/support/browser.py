"""The installed Chromium, controlled by Playwright, and a visitor that records errors of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import (
    Browser,
    Page,
    StorageState,
    StorageStateCookie,
    ViewportSize,
    sync_playwright,
)

from conf.settings import Settings
from dashboard.tickets import sign_in_url

DESK: ViewportSize = {"width": 1280, "height": 800}
PATIENCE = 60_000
"""Timeout of a page in milliseconds."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; without one the test is skipped, and fails in CI."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        why = "Chromium is not here: install it (on Debian the package chromium)"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def signed_in(settings: Settings) -> StorageState:
    """The cookies of a browser whose operator has followed the link of `console --link`."""
    response = httpx.get(sign_in_url(settings), trust_env=False)
    ((name, value),) = response.cookies.items()
    cookie: StorageStateCookie = {
        "name": name,
        "value": value,
        "domain": settings.console.host,
        "path": "/",
        "expires": -1,
        "httpOnly": True,
        "secure": False,
        "sameSite": "Lax",
    }
    return {"cookies": [cookie], "origins": []}


@dataclass
class Visitor:
    """A browser that records its errors and its requests to other hosts.

    Attributes:
        session: its cookies; without them it is not signed in.
    """

    browser: Browser
    url: str
    session: StorageState | None = None
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def open(self, path: str = "/", size: ViewportSize = DESK, scheme: Any = "light") -> Page:
        page = self.browser.new_page(viewport=size, color_scheme=scheme, storage_state=self.session)
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda line: self.complaints.append(line.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda asked: self._note(asked.url))
        page.goto(self.url + path)
        return page

    def _note(self, url: str) -> None:
        if urlsplit(url).hostname not in {"127.0.0.1", None}:
            self.elsewhere.append(url)
