"""Lines of logs, whoever wrote them, as entries with time and level.

Our own processes and Spark's JVM write JSON; Kafka, Pulsar, Postgres, MinIO, Trino and librdkafka
write text, each in a format of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")
_LEVEL_OF = {name: name for name in LEVELS} | {
    "trace": "debug",
    "notice": "info",
    "log": "info",
    "warn": "warning",
    "severe": "error",
    "fatal": "critical",
    "panic": "critical",
}
_STAMP = re.compile(
    r"\[?(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?)"
    r"\s?(?P<zone>Z|UTC|[+-]\d\d:?\d\d)?\]?\s*(?P<rest>.*)"
)
_LEVEL = re.compile(rf"(?:\[\d+\] )?\[?(?P<level>{'|'.join(_LEVEL_OF)})\b\]?:?\s*", re.IGNORECASE)
_ASIDE = re.compile(r"(?:\[\d+\] )?(?:STATEMENT|DETAIL|HINT|CONTEXT|QUERY|LOCATION): ")
"""Of Postgres: about the entry before it, with the same time."""
_LIBRDKAFKA = re.compile(r"%(?P<severity>[0-7])\|(?P<time>\d+\.\d+)\|(?P<text>.*)")
_OF_SYSLOG = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
_NO_TIME = (ValueError, OverflowError, OSError)
"""What a time that is none raises, or one that no clock of the machine shows."""
_KNOWN = ("timestamp", "level", "event", "exception")


@dataclass(frozen=True)
class LogEntry:
    """One entry of a log.

    Attributes:
        log: stem of the file.
        at: in UTC; None where neither the line nor one before it has a time.
        level: of `LEVELS`; empty where the line has none.
        event: the text.
        fields: what the line is about, by name.
        more: further lines: a traceback, a statement.
        is_text: whether the lines without a time that follow it belong to it.
    """

    log: str
    at: datetime | None
    level: str
    event: str
    fields: dict[str, Any] = field(default_factory=dict)
    more: list[str] = field(default_factory=list)
    is_text: bool = False

    def reaches(self, level: str) -> bool:
        """Whether it is at least this severe; one without a level may be, so it is."""
        return not self.level or LEVELS.index(self.level) >= LEVELS.index(level)

    def as_json(self) -> str:
        """One JSON object, with the names of our own log lines; half a surrogate pair escaped."""
        more = {"exception": "\n".join(self.more)} if self.more else {}
        at = self.at.isoformat() if self.at else None
        known = {"timestamp": at, "log": self.log, "level": self.level, "event": self.event}
        text = json.dumps({**known, **self.fields, **more}, ensure_ascii=False)
        return text.encode(errors="backslashreplace").decode()


def parse_entries(
    log: str, lines: Iterable[str], before: LogEntry | None = None
) -> Iterator[LogEntry]:
    """Entries of the lines of one log, in their order; blank lines are left out.

    A line of text without a time continues the text before it: a traceback, a statement. Any other
    has the time of the entry before it, and no level.

    Args:
        log: stem of the file.
        lines: of it, without line ends.
        before: the last entry before them.
    """
    entry: LogEntry | None = None
    for line in filter(str.strip, lines):
        parsed = _of_json(log, line) or _of_text(log, line) or _of_librdkafka(log, line)
        if parsed is None and entry is not None and entry.is_text:
            entry.more.append(line)
            continue
        if entry is not None:
            yield entry
        before, entry = entry or before, parsed or _of_plain(log, line, entry or before)
    if entry is not None:
        yield entry


def _of_plain(log: str, line: str, before: LogEntry | None) -> LogEntry:
    """An entry of a line without a time."""
    if before is None:
        return LogEntry(log, None, "", line)
    level = before.level if before.is_text else ""
    return LogEntry(log, before.at, level, line, is_text=before.is_text)


def _of_json(log: str, line: str) -> LogEntry | None:
    """An entry of one of our own lines; None for another line, or half of one."""
    if not line.startswith("{"):
        return None
    with suppress(*_NO_TIME, TypeError, AttributeError, KeyError, RecursionError):
        known = json.loads(line)
        at = datetime.fromisoformat(known["timestamp"].replace("Z", "+00:00"))
        level = str(known["level"])
        fields = {k: v for k, v in known.items() if k not in _KNOWN}
        more = str(known.get("exception") or "").rstrip().splitlines()
        level = _LEVEL_OF.get(level.lower(), "")
        return LogEntry(log, at.astimezone(timezone.utc), level, str(known["event"]), fields, more)
    return None


def _of_text(log: str, line: str) -> LogEntry | None:
    """An entry of a line that begins with a time, in the machine's zone unless it names one."""
    if not (found := _STAMP.match(line)) or _ASIDE.match(found["rest"]):
        return None
    zone = {None: "", "UTC": "+00:00", "Z": "+00:00"}.get(found["zone"], found["zone"])
    with suppress(*_NO_TIME):
        at = datetime.fromisoformat(_microseconds(found["time"]) + zone).astimezone(timezone.utc)
        level = _LEVEL.match(found["rest"])
        text = found["rest"][level.end() :] if level else found["rest"]
        named = _LEVEL_OF[level["level"].lower()] if level else ""
        return LogEntry(log, at, named, text, is_text=True)
    return None


def _microseconds(time: str) -> str:
    """A time as Python 3.10 reads it: with a point, and three or six digits behind it."""
    whole, _, part = time.replace(",", ".").partition(".")
    return f"{whole}.{part[:6]:0<6}" if part else whole


def _of_librdkafka(log: str, line: str) -> LogEntry | None:
    """`%3|1796018799.167|FAIL|rdkafka#consumer-1| ...`: a syslog severity, and seconds of 1970."""
    if not (found := _LIBRDKAFKA.match(line)):
        return None
    with suppress(*_NO_TIME):
        at = datetime.fromtimestamp(float(found["time"]), timezone.utc)
        return LogEntry(log, at, _OF_SYSLOG[int(found["severity"])], found["text"])
    return None
