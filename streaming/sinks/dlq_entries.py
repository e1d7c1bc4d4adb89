"""Rejected messages as operators see them: what they select, and what the table has of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from streaming.dlq_ids import Headers

Status = Literal["open", "redriven", "resolved", "superseded"]


@dataclass(frozen=True)
class Selection:
    """Filter for rejected messages. None means no restriction.

    Attributes:
        ids: of the rejected messages.
        rule: id of a rule that they failed.
        topic: that they came from.
        since: received then or later.
        status: of the rejected messages.
        until: received before then.
    """

    ids: Sequence[str] | None = None
    rule: str | None = None
    topic: str | None = None
    since: datetime | None = None
    status: Status | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class DlqSummary:
    """A rejected message without its bytes. Times are in UTC."""

    id: str
    topic: str
    status: Status
    rules: list[str]
    event_id: str | None
    order_id: str | None
    value_bytes: int | None
    received_at: datetime
    rejected_at: datetime
    origin: str | None
    fixed_at: datetime | None
    redriven_at: datetime | None
    redriven_as: str | None
    resolved_at: datetime | None


@dataclass(frozen=True)
class DlqEntry(DlqSummary):
    """A rejected message with its bytes.

    Attributes:
        headers: as received, in their order.
        fixed_value: to redrive in place of the value.
        superseded_by: the rejected message that the redriven message became.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers
    fixed_value: bytes | None
    superseded_by: str | None


@dataclass(frozen=True)
class AuditEntry:
    """What somebody did with a rejected message: opened, edited or redriven. The time is in UTC."""

    at: datetime
    actor: str
    action: str


@dataclass(frozen=True)
class Count:
    """How many rejected messages of one topic failed one rule."""

    rule: str
    topic: str
    dead_letters: int
    oldest: datetime
    newest: datetime
