"""The site of the documentation: built strictly, and readable without any other server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.docs.files import ROOT

LOADED = re.compile(
    r'<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)="((?:https?:)?//[^"]+)'
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a broken link fails the build."""
    site = tmp_path_factory.mktemp("docs") / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", site],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return site


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert {"index.html", "TUTORIAL.html", "TABLES.html"} <= {p.name for p in pages}
    loaded = {address for page in pages for address in LOADED.findall(page.read_text("utf-8"))}
    assert loaded == set()


def test_the_site_has_its_own_mermaid(site: Path) -> None:
    """The theme loads it from another server unless the page has defined it."""
    assert 'src="mermaid.mjs"' in (site / "ARCHITECTURE.html").read_text("utf-8")
    (module,) = re.findall(r'from "./(.+?)"', (site / "mermaid.mjs").read_text("utf-8"))
    assert "as mermaid" in (site / module).read_text("utf-8")
