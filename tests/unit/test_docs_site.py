"""The site of the documentation: built strictly, and readable without any other address."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cli.docs import ROOT

LOADED = re.compile(
    r'<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)="((?:https?:)?//[^"]+)'
)


def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    site = tmp_path / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", site],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr

    pages = list(site.rglob("*.html"))
    assert {"index.html", "TUTORIAL.html", "CLI.html", "TABLES.html"} <= {p.name for p in pages}
    asked = {address for page in pages for address in LOADED.findall(page.read_text("utf-8"))}
    assert asked == set()
