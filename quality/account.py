"""The account of a run: what was sent, against what the topics and tables hold. Opens nothing.

Every message of the ledger has places where it belongs, once: Kafka and bronze all of them; an
accepted one silver.orders and, by its event id, orders_raw; a broken one quarantine. A late one is
good for all that, and set aside by the metrics. A repeat is a message of its own in the lake, and
no second row of orders_raw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from simulator.ledger import Entry

Position = tuple[str, int, int]
"""Topic, partition, offset."""

EXAMPLES = 3


@dataclass(frozen=True)
class Message:
    """One message, where it lies, and the fingerprint of its value (`ledger.digest`)."""

    position: Position
    digest: str | None


@dataclass(frozen=True)
class OrderRow:
    """What orders_processed says of an order."""

    order_id: str
    status: str
    total_price: Decimal | None


@dataclass(frozen=True)
class Evidence:
    """What was found of a run. Every field is as it lies there: repeated rows are repeated here.

    Attributes:
        kafka, bronze: messages of the run's span.
        silver, quarantined, late: positions in silver.orders, quarantine.order_events and
            quarantine.late_events, of the run's span.
        raw: event ids in orders_raw, of the ledger's.
        orders: rows of orders_processed, of the ledger's orders.
        counted: order ids that order_metrics counts, of the ledger's orders.
    """

    kafka: Sequence[Message]
    bronze: Sequence[Message]
    silver: Sequence[Position]
    quarantined: Sequence[Position]
    late: Sequence[Position]
    raw: Sequence[str]
    orders: Sequence[OrderRow]
    counted: Sequence[str]


@dataclass(frozen=True)
class Account:
    """The numbers of a run, and what does not add up.

    Attributes:
        numbers: how many of what; see `settle`.
        missing: messages that are not at every place where they belong.
        duplicated: positions, events and orders that are somewhere twice.
        faults: one sentence for each thing that does not hold; empty when all is well.
    """

    numbers: dict[str, int]
    missing: int
    duplicated: int
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when nothing is missing, nothing is there twice, and nothing is wrong."""
        return not self.faults


class _Findings:
    """Collects what does not hold: sentences for people, keys for the counts."""

    def __init__(self) -> None:
        self.missing: set[Hashable] = set()
        self.twice: set[Hashable] = set()
        self.faults: list[str] = []

    def absent(self, what: str, keys: Iterable[Hashable]) -> None:
        self.missing.update(self.wrong(f"missing: {what}", keys))

    def repeated(self, where: str, keys: Iterable[Hashable]) -> None:
        counts = Counter(keys)
        twice = [key for key, times in counts.items() if times > 1]
        self.twice.update(self.wrong(f"more than once in {where}", twice))

    def wrong(self, what: str, keys: Iterable[Hashable]) -> set[Hashable]:
        found = set(keys)
        if found:
            examples = ", ".join(sorted(map(_name, found))[:EXAMPLES])
            self.faults.append(f"{what}: {len(found)} (such as {examples})")
        return found


def _name(key: Hashable) -> str:
    return "/".join(map(str, key)) if isinstance(key, tuple) else str(key)


def settle(entries: Sequence[Entry], found: Evidence) -> Account:
    """Compare the ledger of a run with what was found of it."""
    taken = [e for e in entries if e.position is not None]
    accepted = [e for e in taken if e.outcome == "accepted"]
    good = {e.position for e in accepted}
    bad = {e.position for e in taken if e.outcome == "poisoned"}
    broken = {e.event_id for e in taken if e.outcome == "poisoned"}
    late = {e.position for e in accepted if e.late}
    orders = {e.order_id for e in accepted}
    punctual = {e.order_id for e in accepted if not e.late}
    ids = {e.event_id for e in accepted}
    as_sent = {Message(e.position, e.digest) for e in taken if e.position is not None}

    findings = _Findings()
    findings.wrong(
        "not delivered", [e.event_id for e in entries if e.outcome in ("rejected", "failed")]
    )
    for place, messages in (("Kafka", found.kafka), ("bronze.order_events", found.bronze)):
        lost = {m.position for m in as_sent - set(messages)}
        findings.absent(f"messages that {place} does not hold as they were sent", lost)
    for what, expected, there in (
        ("accepted events in silver.orders", good, found.silver),
        ("broken messages in quarantine.order_events", bad, found.quarantined),
        ("late events in quarantine.late_events", late, found.late),
        ("accepted events in orders_raw", ids, found.raw),
        ("orders in orders_processed", orders, [o.order_id for o in found.orders]),
        ("orders in order_metrics", punctual, found.counted),
    ):
        findings.absent(what, set(expected) - set(there))
    _look_for_repeats(findings, found)
    bronze, judged = {m.position for m in found.bronze}, {*found.silver, *found.quarantined}
    for what, keys in (
        ("in bronze, and neither good nor quarantined", bronze - judged),
        ("good or quarantined, and not in bronze", judged - bronze),
        ("accepted, yet quarantined", good & set(found.quarantined)),
        ("broken, yet in silver.orders", bad & set(found.silver)),
        ("broken, yet in orders_raw", (broken - ids) & set(found.raw)),
        ("on time, yet set aside as late", (good - late) & set(found.late)),
        ("late, yet counted by order_metrics", (orders - punctual) & set(found.counted)),
        ("not as the newest version of the order says", _outdated(accepted, found.orders)),
    ):
        findings.wrong(what, keys)

    missing = [e for e in taken if {e.position, e.event_id, e.order_id} & findings.missing]
    numbers = {
        "sent": len(entries),
        **{o: sum(e.outcome == o for e in entries) for o in _OUTCOMES},
        "duplicates": sum(e.duplicate_of is not None for e in accepted),
        "in_kafka": len(as_sent & set(found.kafka)),
        "bronze": len((good | bad) & bronze),
        "silver": len(good & set(found.silver)),
        "orders_raw": len(ids & set(found.raw)),
        "orders_processed": len(orders & {o.order_id for o in found.orders}),
        "orders_counted": len(punctual & set(found.counted)),
        "quarantined": len(bad & set(found.quarantined)),
        "late": len(late & set(found.late)),
    }
    return Account(numbers, len(missing), len(findings.twice), tuple(findings.faults))


_OUTCOMES = ("accepted", "rejected", "poisoned", "failed")


def _look_for_repeats(findings: _Findings, found: Evidence) -> None:
    findings.repeated("bronze.order_events", [m.position for m in found.bronze])
    findings.repeated("silver.orders and quarantine", [*found.silver, *found.quarantined])
    findings.repeated("quarantine.late_events", found.late)
    findings.repeated("orders_raw", found.raw)
    findings.repeated("orders_processed", [o.order_id for o in found.orders])
    findings.repeated("order_metrics", found.counted)


def _outdated(accepted: Sequence[Entry], rows: Sequence[OrderRow]) -> set[str]:
    """Orders whose row does not say what their newest events said."""
    status: dict[str, str] = {}
    total: dict[str, Decimal] = {}
    for entry in sorted(accepted, key=lambda e: (e.event_time, e.position)):
        status[entry.order_id] = entry.status
        if entry.total_price is not None:
            total[entry.order_id] = entry.total_price
    return {
        row.order_id
        for row in rows
        if (row.status, row.total_price) != (status.get(row.order_id), total.get(row.order_id))
    }
