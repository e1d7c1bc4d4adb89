"""An event as lines of JSON, each with the violations of the contract at its place."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from streaming.transforms.repair import to_lines, to_path
from streaming.validation.contracts import ContractViolation

CONTEXT = 3
"""Lines that an excerpt shows before and after a line with a violation."""
FEW_LINES = 200
"""So many lines are shown whole."""

_LAST_STEP = re.compile(r"(\[\d+\]|(^|\.)[^.\[\]]*)$")
_read_text = json.JSONDecoder().raw_decode


@dataclass(frozen=True)
class AnnotatedLine:
    """One line of an event.

    Attributes:
        number: from 1.
        text: of the line, indented.
        violations: of the value that begins in the line, and of fields that it lacks.
    """

    number: int
    text: str
    violations: tuple[ContractViolation, ...]


def annotate(event: Any, violations: Sequence[ContractViolation]) -> list[AnnotatedLine]:
    """All lines of an event, read by `repair.read_event`, with its violations."""
    lines = to_lines(event).split("\n")
    numbers: dict[str, int] = {}
    for n, path in enumerate(_paths(lines)):
        if path is not None:
            numbers.setdefault(path, n)
    at: dict[int, list[ContractViolation]] = defaultdict(list)
    for one in violations:
        at[numbers[_nearest(one.path, numbers)]].append(one)
    return [AnnotatedLine(n + 1, text, tuple(at.get(n, ()))) for n, text in enumerate(lines)]


def excerpt(lines: Sequence[AnnotatedLine]) -> list[AnnotatedLine | int]:
    """The lines to show of an event: all of a short one, else those around violations.

    Returns:
        Lines, and in place of a gap the number of lines that are left out.
    """
    if len(lines) <= FEW_LINES:
        return list(lines)
    marked = [n for n, line in enumerate(lines) if line.violations] or [0]
    near = {m for n in marked[:FEW_LINES] for m in range(n - CONTEXT, n + CONTEXT + 1)}
    shown: list[AnnotatedLine | int] = []
    for n, line in enumerate(lines):
        if n in near:
            shown.append(line)
        elif shown and isinstance(shown[-1], int):
            shown[-1] += 1
        else:
            shown.append(1)
    return shown


def _nearest(path: str, known: dict[str, int]) -> str:
    """The path, or the nearest one around it that has a line."""
    while path and path not in known:
        path = _LAST_STEP.sub("", path)
    return path if path in known else ""


def _paths(lines: Sequence[str]) -> Iterator[str | None]:
    """The path of the value that begins in each line; None where a list or an object ends.

    A stack has the path so far; a number is the next index of a list, a text the name of a field.
    """
    steps: list[str | int] = []
    for line in lines:
        text = line.strip()
        if text[:1] in ("}", "]"):
            steps.pop()
            yield None
            continue
        if steps and isinstance(steps[-1], int):
            steps[-1] += 1
        elif steps:
            steps[-1] = _read_text(text)[0]
        yield to_path(steps)
        if text.endswith(("{", "[")):
            steps.append("" if text.endswith("{") else -1)
