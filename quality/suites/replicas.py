"""Tables of the serving database are equal to their replicas in the lake.

A replica is always a little behind. It is compared up to the newest change that it has, and never
by the clock, so streams may run (docs/adr/0016).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import GreaterThan

from quality.context import AuditContext
from quality.facts import (
    BRANCH_HOURS,
    DAY,
    HOURLY,
    declared_types,
    differing,
    floor,
    hours_of,
    look_from,
    rows_of,
    within,
)
from quality.suite import FactSuite, Suite, null
from streaming.lake.tables import SILVER_ZONE_VISITS, TABLES, Table

Row = Mapping[str, Any]

_NUMBERS = ("int", "bigint", "double", "decimal")
_ALIVE = {SILVER_ZONE_VISITS.name: ("dwell_seconds",)}
"""Columns that go on in Postgres without a change that a copy would hear of."""


def replica_suites() -> list[Suite]:
    """One for each copy."""
    return [replica_suite(table) for table in TABLES if table.copy_of]


@dataclass(frozen=True)
class _Replica:
    """A table of the lake as the copy of one of Postgres, in sums per branch and UTC hour."""

    table: Table

    @property
    def summed(self) -> tuple[str, ...]:
        """The numbers that are the same in both as long as the change is the same."""
        left_out = {*self.table.key, *_ALIVE.get(self.table.name, ())}
        return tuple(
            name
            for name, kind in declared_types(self.table).items()
            if kind.startswith(_NUMBERS) and name not in left_out
        )

    @property
    def sql(self) -> str:
        """Sums per bucket from a time on, of the buckets that the copy has wholly come to."""
        time = self.table.time_column
        at = f"{time}::timestamp AT TIME ZONE 'UTC'" if time == "day" else time
        sums = ", ".join(f"sum({c}) AS {c}" for c in self.summed)
        # S608: names come from this repository, not from input.
        return (
            f"SELECT branch_id, date_trunc('hour', {at}, 'UTC') AS hour, count(*) AS rows, {sums}, "  # noqa: S608
            f"max(change_id) AS newest FROM {self.table.copy_of} WHERE {time} >= %s GROUP BY 1, 2"
        )

    def copied(self, rows: pa.Table) -> dict[tuple[Any, ...], Row]:
        """The sums of the copy."""
        rows = rows.append_column("at", hours_of(rows[self.table.time_column]))
        sums = rows.group_by(["branch_id", "at"]).aggregate(
            [([], "count_all"), *((name, "sum") for name in self.summed)]
        )
        return {
            (row["branch_id"], row["at"]): {
                "rows": row["count_all"],
                **{name: row[f"{name}_sum"] for name in self.summed},
            }
            for row in sums.to_pylist()
        }

    def load(self, context: AuditContext) -> Iterator[Row]:
        """The copy first: what changes in Postgres meanwhile has a change that it has not."""
        start = look_from(context, self.table)
        if self.table.time_column == "day":
            start = floor(start, DAY)
        columns = dict.fromkeys(("branch_id", self.table.time_column, *self.summed))
        copy = rows_of(context, self.table, tuple(columns), within(self.table, start))
        copied = self.copied(copy)
        newest = pc.max(copy["change_id"]).as_py() or 0
        newer = rows_of(
            context, self.table, ("change_id",), GreaterThan(term="change_id", value=newest)
        )
        newest = pc.max(newer["change_id"]).as_py() or newest
        served = {(r["branch_id"], r["hour"]): r for r in context.query(self.sql, (start,))}
        return self._compare(copied, served, newest)

    def _compare(
        self, copied: Mapping[Any, Row], served: Mapping[Any, Row], newest: int
    ) -> Iterator[Row]:
        for key in sorted(copied.keys() | served.keys()):
            here = served.get(key, {})
            if here.get("newest", 0) <= newest:
                names = ("rows", *self.summed)
                found = differing(here, copied.get(key, {}), names)
                yield {"branch_id": key[0], "hour": key[1], "differs": found}


def replica_suite(table: Table) -> FactSuite:
    """One row per branch and UTC hour: what is not the same in Postgres and in the lake."""
    meaning = f"Sums over an hour are not the same here and in {table.name}."
    expected = f"numbers of rows and sums of {table.copy_of} are those of {table.name}"
    equals = null("equals_lake", meaning, "differs", expected)
    return FactSuite(
        f"postgres.{table.copy_of}",
        name="twin",
        columns=HOURLY,
        rows=_Replica(table).load,
        expectations=(equals,),
        unit=BRANCH_HOURS,
    )
