"""Reconciliation: the ids that were sent against the ids that each place holds.

    sent = good + quarantined + late, each id once

Every message of a flow is in its `received` table once, and in one of its `good` and `quarantined`
tables. A late event is good, too; only the metrics leave it out. Pure: ids in, differences out. Ids
are text: an event id, an order id, or a source position as `topic/partition/position`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    BRONZE_ORDER_EVENTS,
    QUARANTINE_DETECTIONS,
    QUARANTINE_LATE_EVENTS,
    QUARANTINE_ORDER_EVENTS,
    SILVER_DETECTIONS,
    SILVER_ORDERS,
    Table,
)

EXAMPLES = 3
POSITION = ("topic", "partition", "position")
NO_IDS = pa.array([], pa.string())

Ids: TypeAlias = "pa.Array | pa.ChunkedArray"
Kind = Literal["missing", "doubled", "unexpected"]


class Flow(NamedTuple):
    """The tables in which the messages of some topics end."""

    received: Table
    good: Table
    quarantined: Table


ORDERS = Flow(BRONZE_ORDER_EVENTS, SILVER_ORDERS, QUARANTINE_ORDER_EVENTS)
LATE_ORDERS = QUARANTINE_LATE_EVENTS
"""Good order events that the metrics leave out; detections have no such table."""
DETECTIONS = Flow(BRONZE_DETECTIONS, SILVER_DETECTIONS, QUARANTINE_DETECTIONS)


# -- the result ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """One thing that does not hold: a sentence, and the ids it concerns, if it concerns any."""

    kind: Kind
    what: str
    ids: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """The sentence, with the number of ids and some of them."""
        if not self.ids:
            return self.what
        return f"{self.what}: {len(self.ids)} (such as {', '.join(sorted(self.ids)[:EXAMPLES])})"


@dataclass(frozen=True)
class Reconciliation:
    """How many ids are where they belong, and everything that does not hold."""

    numbers: Mapping[str, int]
    differences: tuple[Difference, ...] = ()

    @property
    def ok(self) -> bool:
        """True when no id is missing, doubled or unexpected."""
        return not self.differences

    @property
    def faults(self) -> list[str]:
        """One sentence for each difference."""
        return [str(difference) for difference in self.differences]

    def ids(self, kind: Kind) -> frozenset[str]:
        """All ids that are missing, doubled or unexpected somewhere."""
        return frozenset[str]().union(*(d.ids for d in self.differences if d.kind == kind))

    def plus(self, *differences: Difference, **numbers: int) -> Reconciliation:
        """The same with more numbers and differences."""
        return Reconciliation({**self.numbers, **numbers}, (*self.differences, *differences))


def differences(kind: Kind, what: str, ids: Iterable[str]) -> tuple[Difference, ...]:
    """One difference about these ids; none without an id."""
    found = frozenset(ids)
    return (Difference(kind, what, found),) if found else ()


# -- ids that belong somewhere, against those that are there ---------------------------------------


@dataclass(frozen=True)
class PlaceIds:
    """One place, the ids that belong there, and the ids that it holds.

    Attributes:
        key: of its number in `Reconciliation.numbers`.
        place: its name for people.
        what: what belongs there, in the plural.
        expected: ids that belong there, once.
        found: ids that are there; a repeated one is repeated here.
        unexpected: description -> ids that must not be there.
        altered: ids that are there with another content; they are missing.
    """

    key: str
    place: str
    what: str
    expected: Collection[str]
    found: Sequence[str]
    unexpected: Mapping[str, Collection[str]] = field(default_factory=dict)
    altered: Collection[str] = ()


def reconcile(places: Iterable[PlaceIds]) -> Reconciliation:
    """Compare each place by itself; its number counts the ids that are where they belong."""
    result = Reconciliation({})
    for one in places:
        there = Counter(one.found)
        present = set(one.expected) & there.keys() - set(one.altered)
        result = result.plus(
            *differences(
                "missing",
                f"missing: {one.what} in {one.place}",
                set(one.expected) - present,
            ),
            *differences(
                "doubled",
                f"more than once in {one.place}",
                [i for i, n in there.items() if n > 1],
            ),
            *(
                difference
                for what, ids in one.unexpected.items()
                for difference in differences("unexpected", what, there.keys() & set(ids))
            ),
            **{one.key: len(present)},
        )
    return result


# -- received = good + quarantined -----------------------------------------------------------------


def position_ids(rows: pa.Table) -> pa.ChunkedArray:
    """The id of each row's message. Columns: topic, partition, position."""
    partition = rows["partition"].cast(pa.string())
    return pc.binary_join_element_wise(rows["topic"], partition, rows["position"], "/")


def positions_of(ids: Ids) -> pa.Table:
    """The inverse of `position_ids`; a topic may contain slashes itself."""
    parts = pc.split_pattern(ids, "/", max_splits=2, reverse=True)
    topic, partition, position = (pc.list_element(parts, n) for n in range(3))
    return pa.table(dict(zip(POSITION, (topic, partition.cast(pa.int32()), position), strict=True)))


def without(ids: Ids, others: Ids) -> Ids:
    """The ids that the others do not hold."""
    left: Ids = ids.filter(pc.invert(pc.is_in(ids, value_set=_union(others))))
    return left


def _union(*parts: Ids) -> pa.Array:
    chunks = [c for p in parts for c in (p.chunks if isinstance(p, pa.ChunkedArray) else [p])]
    return pc.unique(pa.chunked_array(chunks, pa.string()))


class Split(NamedTuple):
    """How the received messages were divided; an id is once in each array.

    Attributes:
        received, handled, late: all received ids, all good or quarantined ones, all late ones.
        unaccounted: received, and neither good nor quarantined.
        unreceived: good or quarantined, and not received.
        both: good and quarantined.
        late_rejected: late, and not good.
    """

    received: pa.Array
    handled: pa.Array
    late: pa.Array
    unaccounted: pa.Array
    unreceived: pa.Array
    both: pa.Array
    late_rejected: pa.Array


def split(received: Ids, good: Ids, quarantined: Ids, late: Ids = NO_IDS) -> Split:
    """Compare the tables of a flow with each other. Arrays of text; ids may be repeated."""
    got, handled, late = _union(received), _union(good, quarantined), _union(late)
    accepted = _union(good)
    return Split(
        received=got,
        handled=handled,
        late=late,
        unaccounted=without(got, handled),
        unreceived=without(handled, got),
        both=accepted.filter(pc.is_in(accepted, value_set=_union(quarantined))),
        late_rejected=without(late, good),
    )


def split_differences(parts: Split) -> tuple[Difference, ...]:
    """What of a split does not hold."""
    return (
        *differences(
            "unexpected",
            "in bronze, and neither good nor quarantined",
            parts.unaccounted.to_pylist(),
        ),
        *differences(
            "unexpected", "good or quarantined, and not in bronze", parts.unreceived.to_pylist()
        ),
        *differences("doubled", "both good and quarantined", parts.both.to_pylist()),
        *differences("unexpected", "late, and not accepted", parts.late_rejected.to_pylist()),
    )
