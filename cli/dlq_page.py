"""The page of one dead letter, for `storelake dlq show`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from cli.dlq_output import instant
from conf.errors import StorelakeError
from infra.terminal import printable

if TYPE_CHECKING:
    from streaming.sinks.dlq_entries import DlqEntry
    from streaming.validation.annotated import AnnotatedLine
    from streaming.validation.contracts import ContractViolation

LONGEST_VALUE = 20_000
"""Characters of a value that a page shows."""


def page(entry: DlqEntry) -> str:
    """Status, times, failed rules, headers and value of one dead letter."""
    from streaming.validation.order_rules import MEANINGS

    lines = [f"{entry.id}: {entry.status}", *_facts(entry), "", "What is wrong"]
    lines += [f"  {rule}: {MEANINGS.get(rule, 'unknown rule')}" for rule in entry.rules]
    if entry.headers:
        lines += ["", "Headers"]
        lines += [f"  {n}: {'no value' if v is None else _text(v)}" for n, v in entry.headers]
    lines += ["", *_value("Value", entry.value)]
    if entry.fixed_value is not None:
        lines += ["", *_value("Fixed value", entry.fixed_value)]
    return printable("\n".join(lines))


def _facts(entry: DlqEntry) -> Iterator[str]:
    facts = {
        "received": entry.received_at,
        "rejected": entry.rejected_at,
        "key": "none" if entry.key is None else _text(entry.key),
        "event": entry.event_id,
        "order": entry.order_id,
        "sent back for": entry.origin,
        "fixed": entry.fixed_at,
        "sent back": entry.redriven_at,
        "sent back as": entry.redriven_as,
        "resolved": entry.resolved_at,
        "rejected again": entry.superseded_by,
    }
    for name, fact in facts.items():
        if fact is not None:
            yield f"  {name:<15}{instant(fact) if isinstance(fact, datetime) else fact}"


def _value(title: str, value: bytes | None) -> list[str]:
    """The value as JSON with each violation of the contract below its line, or else its bytes."""
    from streaming.transforms.repair import read_event
    from streaming.validation.annotated import annotate, excerpt
    from streaming.validation.contracts import find_faults

    if not value:
        return [f"{title}: none" if value is None else f"{title}: 0 bytes"]
    size = f"{title} ({len(value):,} bytes"
    try:
        event = read_event(value)
    except StorelakeError as error:
        return [f"{size}, no JSON: {error})", _cut(_text(value))]
    shown = excerpt(annotate(event, find_faults(event)))
    return [f"{size})", _cut("\n".join(map(_line, shown)))]


def _line(line: AnnotatedLine | int) -> str:
    if isinstance(line, int):
        return f"... {line:,} lines"
    return "\n".join([line.text, *(f">>> {v.path}: {v.message}" for v in line.violations)])


def faults_text(faults: Sequence[ContractViolation]) -> str:
    """One line for each violation, with the path that `fix --set` takes."""
    lines = [f"  {f.path or 'the event'}: {f.message}" for f in faults[:50]]
    if more := len(faults) - len(lines):
        lines.append(f"  and {more:,} more")
    return printable("\n".join(lines))


def _cut(text: str) -> str:
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[:LONGEST_VALUE]}\n... cut here; --raw prints all of it"


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
