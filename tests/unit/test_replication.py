"""Tables of Postgres come to the lake in parts, in the order of their changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

from conf.settings import load_settings
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.tables import Table
from streaming.sinks.replicate import replicate_rows
from streaming.stream import SinkContext
from tests.support.small_lake import NOON, SALES, TIME, open_lake

pytestmark = pytest.mark.requirement("L1")

COPIED = replace(SALES, columns=f"{SALES.columns}, change_id bigint", copy_of="sales")
SCHEMA = pa.schema(
    [("shop", pa.string()), ("hour", TIME), ("sold", pa.int32()), ("change_id", pa.int64())]
)


@dataclass
class Postgres:
    """A table of the serving database: shop -> the id of its newest change."""

    changes: dict[str, int]
    fetched: list[int] = field(default_factory=list)

    def fetch(self, query: str, parameters: tuple[int, int]) -> list[dict[str, Any]]:
        assert query == "SELECT * FROM sales WHERE change_id > %s ORDER BY change_id LIMIT %s"
        cursor, limit = parameters
        later = sorted((n, shop) for shop, n in self.changes.items() if n > cursor)[:limit]
        self.fetched.append(len(later))
        return [
            {"shop": shop, "hour": NOON + timedelta(hours=n % 3), "sold": n, "change_id": n}
            for n, shop in later
        ]


class FullDisk(IcebergLake):
    """A lake that takes some commits, then none."""

    commits = 2

    def upsert(self, table: Table, rows: pa.Table, time_key: str) -> None:  # type: ignore[override]
        if not self.commits:
            raise OSError("no space left on device")
        self.commits -= 1
        super().upsert(table, rows, time_key)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[IcebergLake]:
    with closing(open_lake(tmp_path)) as catalog:
        catalog.create_namespace("gold")
        catalog.create_table(COPIED.name, SCHEMA)
        yield IcebergLake(load_settings(), catalog)


def copy(lake: IcebergLake, postgres: Postgres) -> int:
    """One call of a stream that has just started; two rows at once."""
    context = SinkContext(
        "sales", lake, cast(Any, postgres), lake.settings, cast(Any, None), {}, cast(Any, None)
    )
    return replicate_rows(context, COPIED, "SELECT * FROM sales", 2)


def copied(lake: IcebergLake) -> dict[str, int]:
    rows = lake.read(COPIED.name).to_pylist()
    assert len(rows) == len({row["shop"] for row in rows})
    return {row["shop"]: row["sold"] for row in rows}


def test_all_rows_come_and_only_a_part_of_them_is_in_memory(lake: IcebergLake) -> None:
    postgres = Postgres({f"shop {n}": n for n in range(1, 6)})
    assert (copy(lake, postgres), postgres.fetched) == (5, [2, 2, 1])
    assert copied(lake) == postgres.changes
    assert copy(lake, postgres) == 0


def test_what_a_full_disk_has_left_out_comes_with_the_next_call(lake: IcebergLake) -> None:
    postgres = Postgres({f"shop {n}": n for n in range(1, 6)})
    with pytest.raises(OSError, match="no space"):
        copy(FullDisk(lake.settings, lake.catalog), postgres)
    assert len(copied(lake)) == 4
    postgres.changes["shop 6"] = 6
    assert copy(lake, postgres) == 2
    assert copied(lake) == postgres.changes
