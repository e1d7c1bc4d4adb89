"""Repeatable measurements; each prints one JSON document and says on what machine it ran."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import psutil

from verification.demo.report import versions


def notify(text: str) -> None:
    """Progress, on one line of standard error."""
    sys.stderr.write(f"\r{text}\033[K")


def print_result(result: dict[str, Any], out: Path | None) -> None:
    """Print the figures as JSON, with load, machine and versions; write them to `out`, too."""
    around = {
        "load": psutil.getloadavg(),
        "machine": {"cores": psutil.cpu_count(), "system": platform.platform()},
        "versions": versions(),
    }
    text = json.dumps(result | around, indent=2) + "\n"
    sys.stdout.write(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")
