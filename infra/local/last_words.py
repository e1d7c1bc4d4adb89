"""Why a process ended, in one sentence, from the end of its log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

READ_BYTES = 64 * 1024
LONGEST = 300
_TRACEBACK = "Traceback (most recent call last):"
_RAISED = re.compile(r"(?:\w+\.)*(?P<kind>\w+): (?P<said>.+)")
# SQLAlchemy puts the driver's class in front of its message, and an address behind it.
_INNER = re.compile(r"\((?:\w+\.)*(?P<kind>\w+)\) (?P<said>.+)")
_APPENDIX = "(Background on this error at"
_STAMPED = re.compile(r"\[?(?:\d{4}-\d\d-\d\d|\d\d/\d\d/\d\d)[ T]\d\d:\d\d:\d\d\S*\s+(?P<said>.*)")
_SEVERE = re.compile(r"\b(?:ERROR|FATAL|PANIC|CRITICAL|SEVERE)\b")
_ASIDE = re.compile(r"(?:LINE \d+|DETAIL|HINT|CONTEXT|WARNING|Caused by)\b|\[SQL: |\[parameters: ")


def last_words(log: Path, since: int = 0) -> str:
    """The cause that a log names last: an error or a plain line, before any other message.

    Args:
        log: of the process.
        since: the size of the log when the process started; what lies before is not its own.

    Returns:
        One line without a traceback, SQL or a link; empty where the process has said nothing.
    """
    ranked = list(_causes(_lines(log, since)))
    best = max((rank for rank, _ in ranked), default=0)
    return next((said for rank, said in reversed(ranked) if rank == best), "")[:LONGEST]


def _lines(log: Path, since: int) -> list[str]:
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(since if since <= size else 0, size - READ_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def _causes(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """(rank, sentence) of each line that may be a cause: 2 errors and plain lines, 1 messages."""
    inside, skipped_to = False, _end_of_appendix(lines)
    for at, line in enumerate(lines):
        if line.startswith(_TRACEBACK):
            inside = True
        elif line[0].isspace() or _ASIDE.match(line) or line.startswith(_APPENDIX):
            continue
        elif inside:  # the first line that is not indented is what was raised
            inside = False
            yield 2, _raised(line)
        elif at >= skipped_to:
            yield _ranked(line)


def _end_of_appendix(lines: Sequence[str]) -> int:
    """The first line behind the last appendix of SQLAlchemy, whose SQL looks like plain lines."""
    ends = [at + 1 for at, line in enumerate(lines) if line.startswith(_APPENDIX)]
    return ends[-1] if ends else 0


def _ranked(line: str) -> tuple[int, str]:
    if line.startswith("{"):
        try:
            return _logged(dict(json.loads(line)))
        except (ValueError, TypeError):
            return 2, line
    if stamped := _STAMPED.match(line):
        return (2 if _SEVERE.search(line) else 1), stamped["said"]
    return 2, line


def _logged(entry: dict[str, Any]) -> tuple[int, str]:
    """One JSON line of our own processes."""
    severe = entry.get("level") in {"error", "critical"}
    raised = str(entry.get("exception") or "").strip()
    said = entry.get("error") or (last_raised(raised) if raised else entry.get("event"))
    return (2 if severe else 1), str(said or "").splitlines()[0] if said else ""


def last_raised(traceback: str) -> str:
    """What a traceback ends with, in one line."""
    found = [said for rank, said in _causes(traceback.splitlines()) if rank == 2]
    return found[-1] if found else traceback.splitlines()[-1]


def _raised(line: str) -> str:
    """`package.Error: (driver.Cause) text` is `Cause: text`."""
    found = _RAISED.match(line)
    if found is None:
        return line
    inner = _INNER.match(found["said"])
    kind, said = (inner or found)["kind"], (inner or found)["said"]
    return said if kind.startswith("Storelake") else f"{kind}: {said}"
