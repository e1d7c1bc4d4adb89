"""Ledger of sent messages and their outcomes: the truth that a check compares tables with."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import msgspec

from conf.errors import StorelakeError
from simulator.orders import SimulatedOrderEvent, instant
from simulator.poison import Poisoned

Outcome = Literal["accepted", "rejected", "poisoned", "failed"]


@dataclass(frozen=True)
class Delivery:
    """Outcome of one message; the position is known when a broker took it."""

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
    poisoned: the broker has a broken message. failed: not accepted within the patience.
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


class Entry(msgspec.Struct, frozen=True):
    """One line of a ledger, as a check reads it.

    Attributes:
        event_id, order_id, event_type, event_time, status, total_price: of the event as the till
            meant it; `total_price` is None for a status change.
        made_at: when the till made it (UTC); the `event_time` of a late event is another.
        branch_id, created_at, currency, channel, payment_method: of the event; None where it has
            none.
        payments: method -> amount; None before version 3.
        late: its event time is too long ago to count.
        duplicate_of: the event id, when the message repeats one that was accepted before.
        topic, partition, offset: where a broker has it. A gateway that has the event already
            answers a duplicate with the position of the first one.
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
    topic: str
    partition: int | None
    offset: int | None
    digest: str | None
    branch_id: str
    created_at: datetime | None = None
    currency: str | None = None
    channel: str | None = None
    payment_method: str | None = None
    payments: dict[str, Decimal] | None = None

    @property
    def position(self) -> tuple[str, int, int] | None:
        """Topic, partition and offset; None where no broker has it."""
        if self.partition is None or self.offset is None:
            return None
        return self.topic, self.partition, self.offset


def digest(value: bytes | None) -> str | None:
    """A short fingerprint of a message's value."""
    return None if value is None else blake2b(value, digest_size=16).hexdigest()


def entry_of(event: SimulatedOrderEvent, number: int) -> Entry:
    """The line of an event that every place must have; its position is only its number."""
    sent = {"outcome": "accepted", "late": False, "duplicate_of": None, "digest": None}
    place = {"topic": "", "partition": 0, "offset": number}
    return msgspec.convert({**_of_event(event), **sent, **place}, Entry)


def _of_event(event: SimulatedOrderEvent) -> dict[str, Any]:
    order = event.document["order"]
    payments = order.get("payments")
    return {
        "event_id": event.event_id,
        "order_id": event.order_id,
        "event_type": event.event_type,
        "branch_id": event.branch_id,
        "event_time": instant(event.event_time),
        "made_at": instant(event.made_at),
        **{name: order.get(name) for name in ("created_at", "currency", "channel")},
        "status": event.status,
        "payment_method": order.get("payment_method"),
        "payments": payments and {p["method"]: str(p["amount"]) for p in payments},
        "total_price": None if event.total_price is None else str(event.total_price),
    }


def read_ledger(path: Path) -> list[Entry]:
    """Every line of a ledger file, in the order in which the outcomes became known."""
    return msgspec.json.Decoder(Entry).decode_lines(path.read_bytes())


class Ledger:
    """Counts every message in a `SendReport`, and writes one JSON line about it.

    Grain: one sent message. Money is text, exact to the cent; `way` and `refused_by` are set for
    poison only, whose other fields are those of the event that was broken.

    Raises:
        StorelakeError: the file cannot be written.
    """

    def __init__(self, path: Path | None, run_id: str) -> None:
        self.report = SendReport(run_id)
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8") if path is not None else None
        except OSError as error:
            raise StorelakeError(f"{path} cannot be written: {error.strerror}.") from error

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
        report, accepted = self.report, outcome == "accepted"
        report.sent += 1
        report.retries += delivery.retries
        report.late += accepted and late
        report.duplicates += accepted and duplicate
        setattr(report, outcome, getattr(report, outcome) + 1)
        if outcome in ("failed", "rejected"):
            report.failures[delivery.detail or "unknown"] += 1
        elif poisoned is not None:
            report.by_poison[poisoned.way] += 1
        else:
            report.by_type[event.event_type] += 1
        if self._file is None:
            return
        line = {
            **_of_event(event),
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
