"""What the Spark application says of its streams, for every process of the house."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil


def read_streams(var_dir: Path) -> dict[str, Any] | None:
    """The content of `<var>/run/streams.json`, which the runner writes.

    Returns:
        None while no application runs, also where a killed one has left its word behind.
    """
    with suppress(OSError, ValueError):
        said = json.loads((var_dir / "run" / "streams.json").read_text(encoding="utf-8"))
        if psutil.pid_exists(said["pid"]):
            return dict(said)
    return None
