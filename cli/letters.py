"""Dead letters for the eyes of people: tables, JSON, and the page of one letter."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from conf.errors import StorelakeError

if TYPE_CHECKING:
    from rich.table import Table

    from streaming.sinks.dead_letter_store import Count, Letter, LetterHead
    from streaming.validation.contracts import Fault

LONGEST_VALUE = 20_000
"""Characters of a value on a page; a terminal is no place for a megabyte."""


def as_json(rows: Sequence[LetterHead] | Sequence[Count]) -> str:
    """For programs."""
    return json.dumps([asdict(row) for row in rows], indent=2, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return instant(value)
    raise TypeError(type(value).__name__)


def instant(moment: datetime) -> str:
    """ISO 8601 in UTC, with a Z."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def letters_table(heads: Sequence[LetterHead]) -> Table:
    """One row a dead letter."""
    rows = [
        (h.id, h.status, _minute(h.received_at), h.order_id or "", ", ".join(h.rules))
        for h in heads
    ]
    return _table(("id", "status", "received (UTC)", "order", "rules"), rows)


def counts_table(counts: Sequence[Count]) -> Table:
    """One row a rule and topic."""
    rows = [(c.rule, c.topic, str(c.letters), _minute(c.oldest), _minute(c.newest)) for c in counts]
    return _table(("rule", "topic", "letters", "oldest (UTC)", "newest (UTC)"), rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="right" if title == "letters" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def letter_page(letter: Letter) -> str:
    """Everything about one dead letter."""
    from streaming.validation.order_rules import MEANINGS

    lines = [f"{letter.id}: {letter.status}", *_facts(letter), "", "What is wrong"]
    lines += [f"  {rule}: {MEANINGS.get(rule, 'No meaning is known.')}" for rule in letter.rules]
    if letter.headers:
        lines += ["", "Headers"]
        lines += [f"  {n}: {'no value' if v is None else _text(v)}" for n, v in letter.headers]
    lines += ["", *_value("Value", letter.value)]
    if letter.fixed_value is not None:
        lines += ["", *_value("Fixed value", letter.fixed_value)]
    return printable("\n".join(lines))


def _facts(letter: Letter) -> Iterator[str]:
    facts = {
        "received": letter.received_at,
        "rejected": letter.rejected_at,
        "key": "none" if letter.key is None else _text(letter.key),
        "event": letter.event_id,
        "order": letter.order_id,
        "sent back for": letter.origin,
        "fixed": letter.fixed_at,
        "sent back": letter.redriven_at,
        "sent back as": letter.redriven_as,
        "resolved": letter.resolved_at,
        "rejected again": letter.superseded_by,
    }
    for name, fact in facts.items():
        if fact is not None:
            yield f"  {name:<15}{instant(fact) if isinstance(fact, datetime) else fact}"


def _value(title: str, value: bytes | None) -> list[str]:
    """The value as JSON with what the contract objects to, or else its bytes."""
    from streaming.transforms.repair import read_event, to_lines
    from streaming.validation.contracts import find_faults

    if not value:
        return [f"{title}: none" if value is None else f"{title}: 0 bytes"]
    size = f"{title} ({len(value):,} bytes"
    try:
        event = read_event(value)
    except StorelakeError as error:
        return [f"{size}, no JSON: {error})", _cut(_text(value))]
    faults = find_faults(event)
    objections = ["The contract objects to", faults_text(faults), ""] if faults else []
    return [*objections, f"{size})", _cut(to_lines(event))]


def faults_text(faults: Sequence[Fault]) -> str:
    """One line a wrong spot, with the path that `fix --set` takes."""
    lines = [f"  {f.path or 'the event'}: {f.message}" for f in faults[:50]]
    if len(faults) > len(lines):
        lines.append(f"  and {len(faults) - len(lines):,} more")
    return printable("\n".join(lines))


def _cut(text: str) -> str:
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[:LONGEST_VALUE]}\n... cut here; --raw prints all of it"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Without what could move the cursor of a terminal or hide text on it: written as escapes."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )
