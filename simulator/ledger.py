"""What was sent and what became of it: the truth that a check compares tables with."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

from simulator.orders import OrderEvent, instant
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
    """

    run_id: str
    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    poisoned: int = 0
    failed: int = 0
    retries: int = 0
    seconds: float = 0.0
    by_type: Counter[str] = field(default_factory=Counter)
    by_poison: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)


class Ledger:
    """Counts every message in a `SendReport`, and writes one JSON line about it.

    Grain: one sent message. Money is text, exact to the cent; `way` and `refused_by` are set for
    poison only, whose other fields tell of the event that was broken.
    """

    def __init__(self, path: Path | None, run_id: str) -> None:
        self.report = SendReport(run_id)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8") if path is not None else None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def note(self, event: OrderEvent, delivery: Delivery, poisoned: Poisoned | None = None) -> None:
        """Count and write one message."""
        outcome: Outcome = delivery.outcome
        if poisoned is not None and outcome == "accepted":
            outcome = "poisoned"
        self._count(event, outcome, delivery, poisoned)
        if self._file is None:
            return
        line = {
            "event_id": event.event_id,
            "order_id": event.order_id,
            "event_type": event.event_type,
            "branch_id": event.branch_id,
            "event_time": instant(event.event_time),
            "created_at": event.document["order"].get("created_at"),
            "status": event.status,
            "payment_method": event.document["order"].get("payment_method"),
            "total_price": None if event.total_price is None else str(event.total_price),
            "topic": delivery.topic,
            "partition": delivery.partition,
            "offset": delivery.offset,
            "outcome": outcome,
            "way": poisoned.way if poisoned else None,
            "refused_by": poisoned.refused_by if poisoned else None,
            "detail": delivery.detail,
        }
        self._file.write(json.dumps(line) + "\n")

    def _count(
        self, event: OrderEvent, outcome: Outcome, delivery: Delivery, poisoned: Poisoned | None
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
