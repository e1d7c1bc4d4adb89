"""The Chromium of the machine, driven by Playwright; it downloads none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright


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
