"""Which rejected messages an operator selects, and their edited values. No SQL, no broker."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from streaming.dlq_ids import DlqError
from streaming.sinks.dlq_entries import DlqEntry, Selection
from streaming.sinks.dlq_store import DlqRepository
from streaming.transforms.repair import (
    read_assignment,
    read_event,
    set_path,
    to_bytes,
    to_lines,
    value_at,
)

CHUNK = 50
"""Rejected messages in memory at once: each may have megabytes."""
_LONGEST = 60
"""Characters of a value in a difference."""


def require_known(selection: Selection, topics: Collection[str]) -> None:
    """Check the names in a selection.

    Args:
        selection: the operator's.
        topics: all order topics.

    Raises:
        DlqError: there is no such rule or topic.
    """
    topic = selection.topic
    if selection.rule is not None:
        _require_rule(selection.rule)
    if topic is not None and topic not in topics:
        raise DlqError(f"{topic} carries no orders; those that do: {', '.join(topics)}.")


def _require_rule(rule: str) -> None:
    from streaming.validation.order_rules import MEANINGS  # noqa: PLC0415 - it loads PyArrow

    if rule not in MEANINGS:
        raise DlqError(f"There is no rule {rule}; there are: {', '.join(MEANINGS)}.")


def require_open(entry: DlqEntry) -> None:
    """Check that a rejected message can be edited.

    Raises:
        DlqError: it is not open; the message names the next step.
    """
    next_steps = {
        "redriven": "it was sent back, so wait for the result of the stream",
        "resolved": "what was sent back was good, so nothing is left to fix",
        "superseded": f"what was sent back was rejected again, so fix {entry.superseded_by}",
    }
    if entry.status in next_steps:
        raise DlqError(f"{entry.id} is {entry.status}: {next_steps[entry.status]}.")


def needs_no_edit(entry: DlqEntry) -> bool:
    """Whether a redrive of the same value under another key is a fix."""
    return "key_is_order_id" in entry.rules


def start_of_edit(entry: DlqEntry, *, original: bool) -> bytes | None:
    """The earlier fix, or else the value; the value in any case with `original`."""
    return entry.value if original or entry.fixed_value is None else entry.fixed_value


def text_to_edit(entry: DlqEntry, *, original: bool = False) -> str:
    """The start of an edit for people: indented JSON, else the bytes, with escapes of no text."""
    start = start_of_edit(entry, original=original)
    try:
        return to_lines(read_event(start)) + "\n"
    except DlqError:
        return (start or b"").decode("utf-8", "backslashreplace")


def value_of_text(text: bytes) -> bytes:
    """The value to redrive of a text that somebody edited: compact JSON.

    Raises:
        DlqError: it is no JSON, or larger than a stream accepts.
    """
    try:
        event = read_event(text)
    except DlqError as error:
        raise DlqError(f"This is no JSON ({error}).") from error
    return _checked(to_bytes(event))


def edited_value(
    entry: DlqEntry, assignments: Sequence[str], file: Path | None, *, original: bool
) -> bytes:
    """The bytes to redrive in place of the value.

    Args:
        entry: an open one.
        assignments: `path=value`, applied in their order.
        file: to start from; None for the earlier fix, or else the value.
        original: whether to start from the value although there is an earlier fix.

    Raises:
        DlqError: there is no JSON to start from, a path leads nowhere, or the result is
            larger than a stream accepts.
    """
    start = file.read_bytes() if file else start_of_edit(entry, original=original)
    try:
        event = read_event(start)
    except DlqError as error:
        raise DlqError(
            f"{file or entry.id} is no JSON ({error}): "
            f"`storelake dlq fix {entry.id} --edit` opens its text in your editor."
        ) from error
    for path, value in map(read_assignment, assignments):
        event = set_path(event, path, value)
    return _checked(to_bytes(event) if assignments else start or b"")


def _checked(value: bytes) -> bytes:
    from streaming.validation.envelope import MAX_VALUE_BYTES  # noqa: PLC0415 - it loads PyArrow

    if len(value) > MAX_VALUE_BYTES:
        raise DlqError("That is larger than 1 MiB: the stream would reject it again.")
    return value


def differences(entries: Sequence[DlqEntry], assignments: Sequence[str]) -> Iterator[str]:
    """What assignments change in rejected messages: a line `path: before -> after` each.

    Raises:
        DlqError: an assignment is none.
    """
    paths = dict.fromkeys(read_assignment(one)[0] for one in assignments)
    for entry in entries:
        yield entry.id
        try:
            after = read_event(edited_value(entry, assignments, None, original=False))
        except DlqError as error:
            yield f"  cannot be edited: {error}"
            continue
        before = read_event(start_of_edit(entry, original=False))
        for path in paths:
            yield f"  {path}: {_short(value_at(before, path))} -> {_short(value_at(after, path))}"


def _short(value: object) -> str:
    text = to_bytes(value).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def fix_all(store: DlqRepository, ids: Sequence[str], assignments: Sequence[str]) -> dict[str, str]:
    """Apply assignments to rejected messages, and store each.

    Args:
        store: of the rejected messages.
        ids: of open ones.
        assignments: `path=value`, applied in their order to the earlier fix, or else the value.

    Returns:
        Id -> why it was not edited, of those that were not.
    """
    chunks = (store.get(ids[start : start + CHUNK]) for start in range(0, len(ids), CHUNK))
    found = {one.id: _problem(store, one, assignments) for chunk in chunks for one in chunk}
    return {entry: reason for entry, reason in found.items() if reason is not None}


def _problem(store: DlqRepository, entry: DlqEntry, assignments: Sequence[str]) -> str | None:
    try:
        store.store_fix(entry, edited_value(entry, assignments, None, original=False))
    except DlqError as error:
        return str(error)
    return None
