"""What the Spark application says of its streams, for every process of the house."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from typing import Any

import psutil


def read_streams(var_dir: Path) -> dict[str, Any] | None:
    """The content of `<var>/run/streams.json`, which the runner writes.

    Returns:
        None while no application runs, also where a killed one has left its word behind. Whether
        one of another machine (or container) lives, only the age of its word (`at`) can say.
    """
    with suppress(OSError, ValueError):
        said = json.loads((var_dir / "run" / "streams.json").read_text(encoding="utf-8"))
        if said["host"] != gethostname() or psutil.pid_exists(said["pid"]):
            return dict(said)
    return None
