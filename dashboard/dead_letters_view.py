"""What the pages of dead letters show: filters, one dead letter, what is wrong with its value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from functools import cache
from typing import cast, get_args
from urllib.parse import urlencode

from streaming.dlq_ids import DlqError
from streaming.sinks.dlq_edits import start_of_edit, text_to_edit
from streaming.sinks.dlq_entries import AuditEntry, DlqEntry, DlqSummary, Selection, Status
from streaming.sinks.dlq_store import DlqRepository
from streaming.transforms.repair import order_id_of, read_event
from streaming.validation.annotated import AnnotatedLine, annotate, excerpt
from streaming.validation.contracts import ContractViolation, find_faults

PATH = "/dead-letters"
STATES = get_args(Status)
PAGE = 50
"""Dead letters on one page."""
MOST_SHOWN = 20_000
"""Characters of a value that is no JSON; a line of JSON is cut at `MOST_LINE`."""
MOST_LINE = 400
MOST_EDITED = 1 << 20
"""Bytes of a value that is edited in a browser: a stream accepts no larger one."""


@cache
def meanings() -> Mapping[str, str]:
    """Rule -> what is wrong with a message that fails it."""
    from streaming.validation.order_rules import MEANINGS  # noqa: PLC0415 - it loads PyArrow

    return MEANINGS


def read_filter(query: Mapping[str, str]) -> Selection:
    """The selection that the query of an address describes; by default the open ones.

    Raises:
        DlqError: a time or a status is none.
    """
    status = query.get("status") or "open"
    if status not in (*STATES, "all"):
        raise DlqError(f"There is no status {status}: it is one of {', '.join(STATES)}, all.")
    return Selection(
        rule=query.get("rule") or None,
        topic=query.get("topic") or None,
        since=_moment(query.get("since")),
        status=None if status == "all" else cast("Status", status),
        until=_moment(query.get("until")),
    )


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return moment.replace(tzinfo=timezone.utc)
        return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise DlqError(f"{text!r} is no time like 2024-05-01T10:00.") from None


def address(selection: Selection, path: str = PATH, **changes: str | None) -> str:
    """The address of a page with a filter."""
    named = {**asdict(selection), "status": selection.status or "all", **changes}
    given = {name: _field(value) for name, value in named.items() if value and name != "ids"}
    return f"{path}?{urlencode(given)}"


def page_of(identifier: str) -> str:
    """The address of one dead letter."""
    return f"{PATH}?{urlencode({'id': identifier})}"


def _field(value: str | datetime) -> str:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(timespec="seconds")
    return value


@dataclass(frozen=True)
class ValueView:
    """A value as lines with violations of the contract.

    Attributes:
        size: bytes; None for no value.
        problem: why it is no JSON; empty where it is.
        lines: of JSON; a number stands for so many lines that are left out.
        text: in place of lines, where it is no JSON.
        violations: of the contract.
        order_id: of the event; None where it has none.
    """

    size: int | None
    problem: str
    lines: list[AnnotatedLine | int]
    text: str
    violations: list[ContractViolation]
    order_id: str | None


def view_value(value: bytes | None) -> ValueView:
    """A value, compared with the contract of its version."""
    size = None if value is None else len(value)
    try:
        event = read_event(value)
    except DlqError as error:
        text = (value or b"").decode("utf-8", "backslashreplace")
        return ValueView(size, str(error), [], text[:MOST_SHOWN], [], None)
    violations = find_faults(event)
    lines = [
        line if isinstance(line, int) else replace(line, text=line.text[:MOST_LINE])
        for line in excerpt(annotate(event, violations))
    ]
    return ValueView(size, "", lines, "", violations, order_id_of(event))


@dataclass(frozen=True)
class DeadLetterView:
    """One dead letter on its page.

    Attributes:
        sent: what a redrive sends: the edited value, or else the original.
        original: the original value, where it is edited.
        text: to edit, or an edit that could not be stored; None where the dead letter is not open,
            or too large for a browser.
        version: of the edit; another one means that somebody edited meanwhile.
        successor: the dead letter that the redriven message became.
        headers: texts.
    """

    entry: DlqEntry
    sent: ValueView
    original: ValueView | None
    text: str | None
    version: str
    successor: DlqSummary | None
    headers: list[tuple[str, str]]
    audit: list[AuditEntry]


def view_dead_letter(
    store: DlqRepository, entry: DlqEntry, text: str | None = None
) -> DeadLetterView:
    """One dead letter that was opened; `text` is an edit that could not be stored."""
    start = start_of_edit(entry, original=False)
    editable = entry.status == "open" and len(start or b"") <= MOST_EDITED
    followers = Selection(ids=[entry.superseded_by]) if entry.superseded_by else None
    return DeadLetterView(
        entry=entry,
        sent=view_value(start),
        original=None if entry.fixed_value is None else view_value(entry.value),
        text=text or (text_to_edit(entry) if editable else None),
        version=version_of(entry),
        successor=next(iter(store.heads(followers, 1)), None) if followers else None,
        headers=[(_text(name), _decoded(value)) for name, value in entry.headers],
        audit=store.audit(entry.id),
    )


def version_of(entry: DlqEntry) -> str:
    """The version of the edit of a dead letter: when it was stored; empty without one."""
    return entry.fixed_at.isoformat() if entry.fixed_at else ""


def _text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _decoded(value: bytes | None) -> str:
    return "no value" if value is None else value.decode("utf-8", "backslashreplace")
