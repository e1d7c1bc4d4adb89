"""Which rejected messages an operator selects, and the edited value of one. No SQL, no broker."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from conf.errors import StorelakeError
from streaming.dlq_ids import DlqError
from streaming.sinks.dlq_store import DlqEntry, Selection
from streaming.transforms.repair import read_assignment, read_event, set_path, to_bytes


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
    from streaming.validation.envelope import MAX_VALUE_BYTES  # noqa: PLC0415 - it loads PyArrow

    fixed = None if original else entry.fixed_value
    start = file.read_bytes() if file else entry.value if fixed is None else fixed
    try:
        event = read_event(start)
    except StorelakeError as error:
        raise DlqError(
            f"{file or entry.id} is no JSON ({error}): "
            f"`storelake dlq show {entry.id} --raw` prints its bytes; "
            "correct them in a file and give it with --value."
        ) from error
    for path, value in map(read_assignment, assignments):
        event = set_path(event, path, value)
    edited = to_bytes(event) if assignments else start or b""
    if len(edited) > MAX_VALUE_BYTES:
        raise DlqError("That is larger than 1 MiB: the stream would reject it again.")
    return edited
