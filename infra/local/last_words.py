"""Why a process ended, in one sentence, from the end of its log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from infra.local.process import read_end

READ_BYTES = 64 * 1024
LONGEST = 300
_TRACEBACK = "Traceback (most recent call last):"
_RAISED = re.compile(r"(?:\w+\.)*(?P<kind>\w+): (?P<text>.+)")
# SQLAlchemy puts the driver's class in front of its message, and an address behind it.
_INNER = re.compile(r"\((?:\w+\.)*(?P<kind>\w+)\) (?P<text>.+)")
_APPENDIX = "(Background on this error at"
_STAMPED = re.compile(
    r"\[?(?:\d{4}-\d\d-\d\d|\d\d/\d\d/\d\d)[ T]\d\d:\d\d:\d\d\S*\s+"
    r"(?:UTC )?(?:\[\d+\] )?(?P<text>.*)"
)
# Of Postgres, `ERROR:` is about one statement of a client.
_SEVERE = re.compile(r"\b(?:FATAL|PANIC|CRITICAL|SEVERE|ERROR(?!:))\b")
_ASIDE = re.compile(r"(?:LINE \d+|DETAIL|HINT|CONTEXT|WARNING|Caused by)\b|\[SQL: |\[parameters: ")


def last_words(log: Path, since: int = 0) -> str:
    """The cause that a log names last: an error, or a plain line such as our commands end with.

    Args:
        log: of the process.
        since: the size of the log when the process started; what lies before is not its own.

    Returns:
        One line without a traceback, SQL or a link; empty where the log has no cause.
    """
    causes = list(_causes(read_end(log, READ_BYTES, since)))
    return causes[-1][:LONGEST] if causes else ""


def _causes(lines: Sequence[str]) -> Iterator[str]:
    """The lines that may be a cause: what was raised, logged errors, plain lines."""
    inside, skipped_to = False, _end_of_appendix(lines)
    for at, line in enumerate(lines):
        if line.startswith(_TRACEBACK):
            inside = True
        elif not line or line[0].isspace() or _ASIDE.match(line) or line.startswith(_APPENDIX):
            continue
        elif inside:  # the first line that is not indented is what was raised
            inside = False
            yield _raised(line)
        elif at >= skipped_to and (cause := _cause(line)):
            yield cause


def _end_of_appendix(lines: Sequence[str]) -> int:
    """The first line behind the last appendix of SQLAlchemy, whose SQL looks like plain lines."""
    ends = [at + 1 for at, line in enumerate(lines) if line.startswith(_APPENDIX)]
    return ends[-1] if ends else 0


def _cause(line: str) -> str:
    """A plain line, or the text of a message that is severe; empty for other messages."""
    if line.startswith("{"):
        try:
            return _logged(dict(json.loads(line)))
        except (ValueError, TypeError):
            return line
    if stamped := _STAMPED.match(line):
        return stamped["text"] if _SEVERE.search(line) else ""
    return line


def _logged(entry: dict[str, Any]) -> str:
    """The cause in a JSON line of our own processes."""
    if entry.get("level") not in {"error", "critical"}:
        return ""
    raised = list(_causes(str(entry.get("exception") or "").splitlines()))
    cause = entry.get("error") or (raised[-1] if raised else entry.get("event"))
    return next(iter(str(cause or "").splitlines()), "")


def _raised(line: str) -> str:
    """`package.Error: (driver.Cause) text` is `Cause: text`."""
    found = _RAISED.match(line)
    if found is None:
        return line
    inner = _INNER.match(found["text"])
    kind, text = (inner or found)["kind"], (inner or found)["text"]
    return text if kind.startswith("Storelake") else f"{kind}: {text}"
