"""The installed Chromium, controlled by Playwright, and a visitor that records errors of pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

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


@dataclass
class Visitor:
    """A browser that records its errors and its requests to other hosts."""

    browser: Browser
    url: str
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def open(self, path: str = "/", size: ViewportSize = DESK, scheme: Any = "light") -> Page:
        page = self.browser.new_page(viewport=size, color_scheme=scheme)
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda line: self.complaints.append(line.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda asked: self._note(asked.url))
        page.goto(self.url + path)
        return page

    def _note(self, url: str) -> None:
        if urlsplit(url).hostname not in {"127.0.0.1", None}:
            self.elsewhere.append(url)
