"""Prints log entries: `name | time level event`, names in colors on a terminal, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.text import Text

from conf.logs import without_controls
from infra.local.log_lines import LogEntry
from infra.terminal import console

_BASE_COLORS = ("cyan", "yellow", "green", "magenta", "blue")
COLORS = (*_BASE_COLORS, *(f"bright_{color}" for color in _BASE_COLORS))
LEVEL_STYLES = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}


class LogPrinter:
    """Prints entries to standard output.

    Args:
        names: of the logs; each has a color of its own, as far as there are some.
        as_json: one JSON object an entry.
    """

    def __init__(self, names: Sequence[str], *, as_json: bool) -> None:
        self._names, self._as_json = list(names), as_json

    def show(self, entry: LogEntry) -> None:
        """Print one entry."""
        out = console()
        if self._as_json:
            out.out(entry.as_json(), highlight=False)
            return
        name = self._name(entry.log)
        for line in _lines(entry):
            out.print(name + line, soft_wrap=True, highlight=False)

    def _name(self, log: str) -> Text:
        if log not in self._names:
            self._names.append(log)
        width = max(map(len, self._names))
        color = COLORS[self._names.index(log) % len(COLORS)]
        return Text(f"{log:<{width}} | ", style=color)


def _lines(entry: LogEntry) -> Iterator[Text]:
    """The entry in one line with its fields, then its further lines as they are."""
    at = f"{entry.at:%b %d %H:%M:%S}.{entry.at.microsecond // 1000:03} " if entry.at else ""
    level, style = f"{entry.level:<8} ".lstrip(), LEVEL_STYLES.get(entry.level, "")
    shown = {k: v for k, v in entry.fields.items() if k not in {"process", "logger"}}
    fields = "".join(f" {name}={_value(value)}" for name, value in shown.items())
    event, *rest = without_controls(entry.event).splitlines() or [""]
    fields = without_controls(fields)
    yield Text.assemble((at, "dim"), (level, style), event, (fields, "dim"))
    for line in (*rest, *entry.more):
        yield Text(without_controls(line))


def _value(value: Any) -> str:
    """A field as `key=value` shows it: text without quotes where it has no space."""
    plain = isinstance(value, str) and value and not any(map(str.isspace, value))
    return value if plain else json.dumps(value, ensure_ascii=False)
