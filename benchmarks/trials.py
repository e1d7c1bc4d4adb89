"""Which layouts are tried for which tables, and by which probes: values, read by `candidates`.

Probes are what the product asks of these tables beside the twelve questions, which read them whole:
an hour of the chain (validation, a backfill), a day of one branch (a report), one order, one camera
(support).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, EqualTo
from pyiceberg.expressions import GreaterThanOrEqual as From
from pyiceberg.expressions import LessThan as Before
from sqlglot import exp

from benchmarks.chain.plan import BEGIN
from streaming.lake.tables import (
    GOLD_FOOTFALL_MINUTE,
    SILVER_DETECTIONS,
    SILVER_ORDER_STATUS,
    SILVER_ORDERS,
    SILVER_ZONE_VISITS,
    Table,
)

SPACE = "trial"
MIB = 1024 * 1024
NOON = BEGIN + timedelta(days=1, hours=12)


@dataclass(frozen=True)
class Probe:
    """Rows that somebody wants of a table.

    Attributes:
        name: for people.
        equal: values of columns.
        since: the first moment; None: whenever.
        span: how long from then on.
    """

    name: str
    equal: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    span: timedelta = timedelta(0)

    def sql(self, table: str, column: str, dialect: str) -> str:
        """A count and the span of times, in the SQL of an engine."""
        time = exp.column(column)
        wanted: list[exp.Expr] = [exp.column(c).eq(value) for c, value in self.equal.items()]
        if self.since is not None:
            wanted += [time >= _instant(self.since), time < _instant(self.since + self.span)]
        query = exp.select(
            exp.alias_(exp.Count(this=exp.Star()), "found"),
            exp.alias_(exp.Min(this=time), "first_at"),
            exp.alias_(exp.Max(this=time), "last_at"),
        ).from_(exp.to_table(table))
        return query.where(*wanted).sql(dialect)

    def filter(self, column: str) -> BooleanExpression:
        """The same for PyIceberg's planning."""
        parts: list[BooleanExpression] = [EqualTo(term=c, value=v) for c, v in self.equal.items()]
        if self.since is not None:
            parts += [
                From(term=column, value=self.since.isoformat()),
                Before(term=column, value=(self.since + self.span).isoformat()),
            ]
        return And(*parts, AlwaysTrue()) if parts else AlwaysTrue()


def _instant(moment: datetime) -> exp.Cast:
    text = moment.strftime("%Y-%m-%d %H:%M:%S+00:00")
    return exp.cast(exp.Literal.string(text), exp.DataType.Type.TIMESTAMPTZ)


HOUR = Probe("an hour of the chain", since=NOON, span=timedelta(hours=1))
BRANCH_DAY = Probe(
    "a day of a branch",
    {"branch_id": "B001"},
    BEGIN + timedelta(days=1),
    timedelta(days=1),
)
BRANCH = Probe("a branch, always", {"branch_id": "B001"})
ORDER = Probe("an order", {"order_id": "O-0000000100"})
CAMERA_HOUR = Probe("an hour of a camera", {"camera_id": "B001-till"}, NOON, timedelta(hours=1))
TRACK = Probe("a track", {"track_id": "t000000100"})


@dataclass(frozen=True)
class Shape:
    """What may be chosen of a layout; None: as the table has it now.

    Attributes:
        partition: transforms of columns.
        sort: of the rows in a joined file.
        mib: of a joined file.
        group: rows of a row group, which is what a reader can leave out of a file.
    """

    partition: tuple[str, ...] | None = None
    sort: tuple[str, ...] | None = None
    mib: int | None = None
    group: int | None = None

    def of(self, table: Table, name: str) -> Table:
        """The table in this shape, under a name of its own."""
        upkeep = replace(
            table.upkeep,
            sort=self.sort or table.sort,
            target_bytes=self.mib * MIB if self.mib else table.upkeep.target_bytes,
            min_files=2,
        )
        spec = table.partition if self.partition is None else self.partition
        return replace(table, name=name, partition=spec, upkeep=upkeep)


@dataclass(frozen=True)
class Trial:
    """A table, other shapes of it, and who reads it.

    Attributes:
        table: as it is now, which is the first candidate.
        time: the column that readers choose rows by.
        shapes: the others.
        probes: of each of them.
    """

    table: Table
    time: str
    shapes: Sequence[Shape]
    probes: Sequence[Probe]

    def candidates(self) -> list[tuple[Shape, Table]]:
        """Each with a table of its own, the present one first."""
        base = self.table.name.partition(".")[2]
        return [
            (shape, shape.of(self.table, f"{SPACE}.{base}_{number}"))
            for number, shape in enumerate((Shape(), *self.shapes))
        ]


SMALL_GROUP = 50_000
TRIALS = (
    Trial(
        SILVER_ORDERS,
        "event_time",
        (
            Shape(sort=SILVER_ORDERS.key),
            Shape(sort=("order_id", "version")),
            Shape(group=SMALL_GROUP),
            Shape(("days(event_time)", "branch_id"), ("created_at", "order_id", "version")),
            Shape(mib=8),
            Shape(mib=128),
        ),
        (HOUR, BRANCH_DAY, BRANCH, ORDER),
    ),
    Trial(
        SILVER_DETECTIONS,
        "captured_at",
        (
            Shape(sort=SILVER_DETECTIONS.key),
            Shape(group=SMALL_GROUP),
            Shape(("days(captured_at)",), ("branch_id", *SILVER_DETECTIONS.sort)),
            Shape(
                ("days(captured_at)",), ("branch_id", *SILVER_DETECTIONS.sort), None, SMALL_GROUP
            ),
            Shape(mib=8),
            Shape(mib=128),
        ),
        (HOUR, BRANCH_DAY, BRANCH, CAMERA_HOUR, TRACK),
    ),
    Trial(
        SILVER_ORDER_STATUS,
        "changed_at",
        (
            Shape(sort=("order_id", "changed_at")),
            Shape(sort=("branch_id", "changed_at")),
            Shape(("months(changed_at)",), ("branch_id", "changed_at")),
        ),
        (HOUR, BRANCH_DAY, BRANCH, ORDER),
    ),
    Trial(
        SILVER_ZONE_VISITS,
        "entered_at",
        (
            Shape(sort=("branch_id", "entered_at")),
            Shape(("months(entered_at)",), ("branch_id", "entered_at")),
        ),
        (HOUR, BRANCH_DAY, BRANCH, CAMERA_HOUR),
    ),
    Trial(
        GOLD_FOOTFALL_MINUTE,
        "minute",
        (Shape(sort=("minute",)), Shape(("months(minute)",))),
        (HOUR, BRANCH_DAY, BRANCH, CAMERA_HOUR),
    ),
)
