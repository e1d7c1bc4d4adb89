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
    """One thing that does not hold: a sentence, and the ids it concerns; None: it names no ids."""

    kind: Kind
    what: str
    ids: Collection[str] | None = None

    def __str__(self) -> str:
        """The sentence, with the number of ids and some of them."""
        if self.ids is None:
            return self.what
        return f"{self.what}: {len(self.ids)} (such as {', '.join(sorted(self.ids)[:EXAMPLES])})"


@dataclass(frozen=True)
class Reconciliation:
    """How many ids are where they belong, and everything that does not hold."""

    numbers: Mapping[str, int] = field(default_factory=dict)
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
        return frozenset[str]().union(*(d.ids or () for d in self.differences if d.kind == kind))

    def plus(self, *found: Difference, **numbers: int) -> Reconciliation:
        """The same with more numbers and differences; one about no id at all is none."""
        real = (d for d in found if d.ids is None or d.ids)
        return Reconciliation({**self.numbers, **numbers}, (*self.differences, *real))


# -- ids that belong somewhere, against those that are there ---------------------------------------


class Place(NamedTuple):
    """A place that holds ids.

    Attributes:
        key: of its number in `Reconciliation.numbers`.
        name: for people.
        what: what belongs there, in the plural.
        unexpected: what is wrong with ids that must not be there.
    """

    key: str
    name: str
    what: str
    unexpected: str = "unexpected"


class PlaceIds(NamedTuple):
    """The ids that belong at a place, and those that it holds.

    Attributes:
        expected: ids that belong there, once.
        found: ids that are there; a repeated one is repeated here.
        unexpected: ids that must not be there.
        altered: ids that are there with another content; they are missing.
    """

    place: Place
    expected: Collection[str]
    found: Sequence[str]
    unexpected: Collection[str] = ()
    altered: Collection[str] = ()


def reconcile(places: Iterable[PlaceIds]) -> Reconciliation:
    """Compare each place by itself; its number counts the ids that are where they belong."""
    result = Reconciliation()
    for place, expected, found, unexpected, altered in places:
        there = Counter(found)
        present = set(expected) & there.keys() - set(altered)
        missing = set(expected) - present
        doubled = {name for name, times in there.items() if times > 1}
        result = result.plus(
            Difference("missing", f"missing: {place.what} in {place.name}", missing),
            Difference("doubled", f"more than once in {place.name}", doubled),
            Difference("unexpected", place.unexpected, there.keys() & set(unexpected)),
            **{place.key: len(present)},
        )
    return result


# -- received = good + quarantined -----------------------------------------------------------------


def position_ids(rows: pa.Table) -> pa.ChunkedArray:
    """The id of each row's message. Columns: topic, partition, position."""
    # PyIceberg reads text as large_string.
    return pc.binary_join_element_wise(*(rows[name].cast(pa.string()) for name in POSITION), "/")


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
    """How the received messages were divided; an id is once in each array."""

    received: pa.Array
    handled: pa.Array  # good or quarantined
    late: pa.Array
    unaccounted: pa.Array  # received, and not handled
    unreceived: pa.Array  # handled, and not received
    both: pa.Array  # good and quarantined
    late_rejected: pa.Array  # late, and not good


def split(received: Ids, good: Ids, quarantined: Ids, late: Ids = NO_IDS) -> Split:
    """Compare the tables of a flow with each other. Arrays of text; ids may be repeated."""
    got, accepted, late = _union(received), _union(good), _union(late)
    handled, both = _union(good, quarantined), pc.is_in(accepted, value_set=_union(quarantined))
    return Split(
        *(got, handled, late, without(got, handled), without(handled, got)),
        accepted.filter(both),
        without(late, accepted),
    )


def split_differences(parts: Split) -> list[Difference]:
    """What of a split does not hold; differences without an id included."""
    found: tuple[tuple[Kind, str, pa.Array], ...] = (
        ("unexpected", "in bronze, and neither good nor quarantined", parts.unaccounted),
        ("unexpected", "good or quarantined, and not in bronze", parts.unreceived),
        ("doubled", "both good and quarantined", parts.both),
        ("unexpected", "late, and not accepted", parts.late_rejected),
    )
    return [Difference(kind, what, ids.to_pylist()) for kind, what, ids in found]
