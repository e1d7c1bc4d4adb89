"""Repeatable measurements; each prints one JSON document, which names its machine."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer

from conf.settings import load_settings
from verification.demo.report import measured_on
from verification.deployment import Deployment, fresh_deployment
from verification.processes import family

RESULTS = Path(__file__).parent / "results"
"""Result files at full size, which the documentation cites."""

Out = Annotated[Path | None, typer.Option(help="Also write the JSON here.")]


def notify(text: str, shown: list[str] = [""]) -> None:  # noqa: B006 - the last text
    """Progress: one line of a terminal; elsewhere a line for each new text."""
    if text == shown[0]:
        return
    shown[0] = text
    sys.stderr.write(f"\r{text}\033[K" if sys.stderr.isatty() else f"{text}\n")


@contextmanager
def fresh() -> Iterator[Deployment]:
    """Empty services on free ports, which are stopped and deleted at the end."""
    with fresh_deployment(load_settings(), "the benchmark", notify) as deployment:
        yield deployment


def timed(do: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


@contextmanager
def paused(process: psutil.Process) -> Iterator[None]:
    """A process and its descendants do nothing meanwhile."""
    members = family(process)
    for one in members:
        one.suspend()
    try:
        yield
    finally:
        for one in members:
            one.resume()


def print_result(result: dict[str, Any], out: Path | None) -> None:
    """Print the figures as JSON, with command, load and versions; write them to `out`, too."""
    words = sys.orig_argv[2:]  # without the interpreter and `-m`
    around = {
        "command": " ".join(words[: words.index("--out")] if "--out" in words else words),
        **measured_on(),
    }
    text = json.dumps(result | around, indent=2) + "\n"
    sys.stdout.write(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")
