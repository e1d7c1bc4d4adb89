"""What was sent and what became of it: the truth that a check compares tables with."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from simulator.orders import SimulatedOrderEvent, instant
from simulator.poison import Poisoned

Outcome = Literal["accepted", "rejected", "poisoned", "failed"]


@dataclass(frozen=True)
class Delivery:
    """What became of one message; the position is known when a broker took it."""

    outcome: Literal["accepted", "rejected", "failed"]
    topic: str
    partition: int | None = None
    offset: int | None = None
    retries: int = 0
    detail: str | None = None


@dataclass
class SendReport:
    """Totals of one run; `sent` is the sum of the four outcomes.

    accepted: the broker has a good event. rejected: the gateway refused it for good (4xx).
    poisoned: the broker has a broken message. failed: nobody took it within the patience.
    late, duplicates: how many of the accepted ones are that.
    """

    run_id: str
    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    poisoned: int = 0
    failed: int = 0
    late: int = 0
    duplicates: int = 0
    retries: int = 0
    seconds: float = 0.0
    by_type: Counter[str] = field(default_factory=Counter)
    by_poison: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Entry:
    """One line of a ledger, as a check reads it.

    Attributes:
        event_id, order_id, event_type, event_time, status, total_price: of the event as the till
            meant it; `total_price` is None for a status change.
        made_at: when the till made it (UTC); the `event_time` of a late event is another.
        outcome: what became of the message.
        late: its event time is too long ago to count.
        duplicate_of: the event id, when the message repeats one that was accepted before.
        position: (topic, partition, offset), when a broker has it. A gateway that has the event
            already answers a duplicate with the position of the first one.
        digest: of the message's value; None for a message without a value.
    """

    event_id: str
    order_id: str
    event_type: str
    event_time: datetime
    status: str
    total_price: Decimal | None
    made_at: datetime
    outcome: Outcome
    late: bool
    duplicate_of: str | None
    position: tuple[str, int, int] | None
    digest: str | None


def digest(value: bytes | None) -> str | None:
    """A short fingerprint of a message's value."""
    return None if value is None else blake2b(value, digest_size=16).hexdigest()


def read_ledger(path: Path) -> list[Entry]:
    """Every line of a ledger file, in the order in which the outcomes became known."""
    return [_entry(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _entry(line: dict[str, Any]) -> Entry:
    total, known = line["total_price"], line["offset"] is not None
    return Entry(
        event_id=line["event_id"],
        order_id=line["order_id"],
        event_type=line["event_type"],
        event_time=_moment(line["event_time"]),
        status=line["status"],
        total_price=None if total is None else Decimal(total),
        made_at=_moment(line["made_at"]),
        outcome=line["outcome"],
        late=line["late"],
        duplicate_of=line["duplicate_of"],
        position=(line["topic"], line["partition"], line["offset"]) if known else None,
        digest=line["digest"],
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))  # Python 3.10 parses no Z


class Ledger:
    """Counts every message in a `SendReport`, and writes one JSON line about it.

    Grain: one sent message. Money is text, exact to the cent; `way` and `refused_by` are set for
    poison only, whose other fields are those of the event that was broken.
    """

    def __init__(self, path: Path | None, run_id: str) -> None:
        self.report = SendReport(run_id)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8") if path is not None else None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *raised: object) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def note(
        self,
        event: SimulatedOrderEvent,
        delivery: Delivery,
        poisoned: Poisoned | None = None,
        *,
        late: bool = False,
        duplicate: bool = False,
    ) -> None:
        """Count and write one message."""
        outcome: Outcome = delivery.outcome
        if poisoned is not None and outcome == "accepted":
            outcome = "poisoned"
        self._count(event, outcome, delivery, poisoned)
        if outcome == "accepted":
            self.report.late += late
            self.report.duplicates += duplicate
        if self._file is None:
            return
        line = {
            "event_id": event.event_id,
            "order_id": event.order_id,
            "event_type": event.event_type,
            "branch_id": event.branch_id,
            "event_time": instant(event.event_time),
            "made_at": instant(event.made_at),
            "created_at": event.document["order"].get("created_at"),
            "status": event.status,
            "payment_method": event.document["order"].get("payment_method"),
            "total_price": None if event.total_price is None else str(event.total_price),
            "topic": delivery.topic,
            "partition": delivery.partition,
            "offset": delivery.offset,
            "digest": digest(poisoned.value if poisoned else event.value),
            "outcome": outcome,
            "late": late,
            "duplicate_of": event.event_id if duplicate else None,
            "way": poisoned.way if poisoned else None,
            "refused_by": poisoned.refused_by if poisoned else None,
            "detail": delivery.detail,
        }
        self._file.write(json.dumps(line) + "\n")

    def _count(
        self,
        event: SimulatedOrderEvent,
        outcome: Outcome,
        delivery: Delivery,
        poisoned: Poisoned | None,
    ) -> None:
        report = self.report
        report.sent += 1
        report.retries += delivery.retries
        setattr(report, outcome, getattr(report, outcome) + 1)
        if outcome in ("failed", "rejected"):
            report.failures[delivery.detail or "unknown"] += 1
        elif poisoned is not None:
            report.by_poison[poisoned.way] += 1
        else:
            report.by_type[event.event_type] += 1
