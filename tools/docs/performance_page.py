"""docs/PERFORMANCE.md: the figures of the result files, each with its command and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.parts import PARTS, Part, read_result
from tools.docs.markdown import render

RESULTS = "benchmarks/results"


def performance_page(root: Path) -> str:
    """The page without the notice that it is generated."""
    files = sorted((root / RESULTS).glob("*.json"))
    results = {file.stem: read_result(file.parent, file.stem) for file in files}
    rows = [_row(part, results.get(part.name)) for part in PARTS]
    return render("PERFORMANCE", rows=rows, number="{:,}".format, **results)


def _row(part: Part, result: dict[str, Any] | None) -> tuple[str, str, str]:
    """Command as it ran, figures with their targets, and load of the machine."""
    if result is None:
        return f"`{part.command}`", "no file yet", ""
    figures = [
        f"{one.of(result)} {one.title}" + (f" (target {one.target})" if one.target else "")
        for one in part.figures
    ]
    command = result.get("command", part.command).removeprefix("benchmarks.")
    return f"`{command}`", "; ".join(figures), f"{result['load'][0]:.1f}"
