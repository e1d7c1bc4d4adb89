"""Tests for every table format of the lake. A subclass supplies the fixture `shop`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from threading import Barrier, Thread
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, LessThanOrEqual, Or

from streaming.lake.formats import purge
from streaming.lake.protocol import Lake, LakeError
from streaming.lake.tables import Table
from streaming.runtime.lease import FencedError

NOON = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)
MAY = date(2024, 5, 1)

SALES = Table(
    name="gold.sales",
    grain="one shop on one day",
    key=("shop", "day"),
    writer="product_analytics",
    strategy="upsert",
    columns="shop string, day date, sold int",
    time_column="day",
)
EVENTS = Table(
    name="silver.events",
    grain="one message",
    key=("topic", "partition", "position"),
    writer="order_event_processor",
    strategy="append",
    columns="topic string, partition int, position string, at timestamp, sold int",
    time_column="at",
)
LATE = Table(
    name="quarantine.late",
    grain="one message that came too late",
    key=("position",),
    writer="real_time_metrics",
    strategy="upsert",
    columns="position string, at timestamp, rules array<string>",
    time_column="at",
)
TABLES = (SALES, EVENTS, LATE)


@dataclass
class Shop:
    """A lake with both tables, empty.

    Attributes:
        lake: of one query.
        widen: adds a text column to a table, as a newer release does.
        drop: drops a table, as an operator may.
        make: creates it empty, as starting streams do.
    """

    lake: Lake
    widen: Callable[[Table, str], None]
    drop: Callable[[Table], None]
    make: Callable[[Table], None]

    def rows(self, table: Table = EVENTS) -> list[dict[str, Any]]:
        """Rows of a table, through a reader of its own."""
        return sorted(self.lake.another().read(table.name).to_pylist(), key=repr)

    def positions(self) -> list[tuple[str, int, str]]:
        """Positions of all events, with repeated ones."""
        return sorted((r["topic"], r["partition"], r["position"]) for r in self.rows())


def offset(number: int) -> str:
    """A position of Kafka."""
    return f"{number:020d}"


def message_id(ledger: int, entry: int, batch: int) -> str:
    """A position of Pulsar."""
    return f"{ledger:020d}:{entry:020d}:{0:05d}:{batch:010d}"


def events(
    *positions: int | str, topic: str = "orders", partition: int = 0, at: datetime = NOON
) -> pa.Table:
    """Messages of one partition, a second apart."""
    texts = [offset(p) if isinstance(p, int) else p for p in positions]
    count = len(texts)
    return pa.table(
        {
            "topic": [topic] * count,
            "partition": pa.array([partition] * count, pa.int32()),
            "position": texts,
            "at": [at + n * timedelta(seconds=1) for n in range(count)],
            "sold": pa.array([1] * count, pa.int32()),
        }
    )


def sales(*rows: tuple[str, int], day: date = MAY) -> pa.Table:
    """Sales of shops on one day."""
    shops, sold = zip(*rows, strict=True)
    return pa.table({"shop": shops, "day": [day] * len(rows), "sold": pa.array(sold, pa.int32())})


def sold(rows: Sequence[dict[str, Any]]) -> dict[tuple[str, date], int]:
    return {(r["shop"], r["day"]): r["sold"] for r in rows}


class LakeSuite:
    """Collected through its subclasses only."""

    def test_a_batch_that_comes_again_changes_nothing(self, shop: Shop) -> None:
        assert shop.lake.append(EVENTS, events(1, 2), 0) == 2
        assert shop.lake.append(EVENTS, events(1, 2), 0) == 0
        assert len(shop.positions()) == 2

    def test_of_two_writers_with_the_same_rows_one_writes_them(self, shop: Shop) -> None:
        """A driver that seemed dead continues beside its successor."""
        shop.lake.append(EVENTS, events(0), 0)
        zombie = shop.lake.another()
        zombie.append(EVENTS, events(0), 0)  # both have loaded the table
        both, written = Barrier(2), []

        def write(lake: Lake) -> None:
            both.wait(10)
            written.append(lake.append(EVENTS, events(*range(50)), 1))

        threads = [Thread(target=write, args=(lake,)) for lake in (shop.lake, zombie)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

        assert sorted(written) == [0, 49]
        assert [p for _, _, p in shop.positions()] == [offset(n) for n in range(50)]

    def test_a_writer_that_has_missed_the_commits_of_another_one_repeats_none_of_its_rows(
        self, shop: Shop
    ) -> None:
        late = shop.lake.another()
        assert late.append(EVENTS, events(0), 0) == 1
        assert shop.lake.append(EVENTS, events(1, 2, 3), 1) == 3
        assert late.append(EVENTS, events(1, 2, 3, 4), 1) == 1
        assert [p for _, _, p in shop.positions()] == [offset(n) for n in range(5)]

    def test_a_writer_whose_stream_was_taken_over_commits_nothing(self, shop: Shop) -> None:
        first, second = shop.lake.another(epoch=1), shop.lake.another(epoch=2)
        first.append(EVENTS, events(1), 0)
        first.upsert(SALES, sales(("A", 1)), "day")
        second.append(EVENTS, events(2), 0)
        second.upsert(SALES, sales(("A", 2)), "day")

        with pytest.raises(FencedError, match=r"silver\.events was written under epoch 2.*epoch 1"):
            first.append(EVENTS, events(3), 1)
        with pytest.raises(FencedError, match=r"gold\.sales"):
            first.upsert(SALES, sales(("A", 1)), "day")
        assert [p for _, _, p in shop.positions()] == [offset(n) for n in (1, 2)]
        assert sold(shop.rows(SALES)) == {("A", MAY): 2}
        assert second.append(EVENTS, events(3), 1) == 1

    def test_batches_with_other_bounds_bring_only_what_is_new(self, shop: Shop) -> None:
        shop.lake.append(EVENTS, events(1, 2, 3), 0)
        assert shop.lake.append(EVENTS, events(2, 3, 4, 5), 0) == 2
        assert [p for _, _, p in shop.positions()] == [offset(n) for n in range(1, 6)]

    def test_a_query_without_a_checkpoint_skips_what_another_one_has_written(
        self, shop: Shop
    ) -> None:
        shop.lake.append(EVENTS, pa.concat_tables([events(1, 2), events(7, partition=1)]), 41)

        moved = shop.lake.another()
        again = pa.concat_tables([events(1, 2, 3), events(6, 7, partition=1)])
        assert moved.append(EVENTS, again, 0) == 1
        assert len(shop.positions()) == 4

    def test_partitions_and_topics_are_distinguished(self, shop: Shop) -> None:
        shop.lake.append(EVENTS, events(5), 0)
        assert shop.lake.append(EVENTS, events(5, partition=1), 1) == 1
        assert shop.lake.append(EVENTS, events(5, topic="cancelled"), 2) == 1
        assert shop.lake.another().progress(EVENTS) == {
            ("orders", 0): offset(5),
            ("orders", 1): offset(5),
            ("cancelled", 0): offset(5),
        }

    def test_message_ids_of_pulsar_are_kept_whole(self, shop: Shop) -> None:
        huge = message_id(2**62, 12, 3)
        shop.lake.append(EVENTS, events(message_id(7, 999_999_999, 9)), 0)
        assert shop.lake.append(EVENTS, events(message_id(8, 0, 0), huge), 1) == 2
        assert shop.lake.another().append(EVENTS, events(message_id(8, 0, 0), huge), 0) == 0
        assert shop.lake.another().progress(EVENTS) == {("orders", 0): huge}

    def test_fresh_returns_the_rows_that_an_append_would_write(self, shop: Shop) -> None:
        shop.lake.append(EVENTS, events(1), 0)
        fresh = shop.lake.another().fresh(EVENTS, events(1, 2))
        assert fresh["position"].to_pylist() == [offset(2)]

    def test_an_upsert_replaces_by_key_and_may_run_twice(self, shop: Shop) -> None:
        june = date(2024, 6, 1)
        shop.lake.upsert(SALES, sales(("A", 1), ("B", 1)), "day")
        shop.lake.upsert(SALES, sales(("A", 9), day=june), "day")
        for _ in range(2):
            shop.lake.upsert(SALES, sales(("A", 2), ("C", 3)), "day")
        assert sold(shop.rows(SALES)) == {
            ("A", MAY): 2,
            ("B", MAY): 1,
            ("C", MAY): 3,
            ("A", june): 9,
        }

    def test_an_upsert_keeps_lists_of_other_rows(self, shop: Shop) -> None:
        def late(*positions: str) -> pa.Table:
            count = len(positions)
            return pa.table(
                {"position": positions, "at": [NOON] * count, "rules": [["late"]] * count}
            )

        shop.lake.upsert(LATE, late("1", "2"), "at")
        shop.lake.upsert(LATE, late("2", "3"), "at")
        assert [row["position"] for row in shop.rows(LATE)] == ["1", "2", "3"]
        assert [row["rules"] for row in shop.rows(LATE)] == [["late"]] * 3

    def test_nothing_is_committed_for_nothing(self, shop: Shop) -> None:
        shop.lake.upsert(SALES, sales(("A", 1)).slice(0, 0), "day")
        shop.lake.append(EVENTS, events(1).slice(0, 0), 0)
        assert [shop.lake.state(t.name).newest for t in TABLES] == [None, None, None]  # type: ignore[union-attr]

    def test_a_column_of_a_newer_release_is_null_in_an_append(self, shop: Shop) -> None:
        shop.lake.append(EVENTS, events(1), 0)
        shop.widen(EVENTS, "note")
        shop.lake.append(EVENTS, events(2), 1)
        assert [(r["sold"], r["note"]) for r in shop.rows()] == [(1, None), (1, None)]

    def test_and_in_an_upsert_which_keeps_that_of_other_rows(self, shop: Shop) -> None:
        shop.widen(SALES, "note")
        noted = sales(("A", 1), ("B", 1)).append_column("note", [["noted", "noted"]])
        shop.lake.upsert(SALES, noted, "day")
        shop.lake.upsert(SALES, sales(("A", 2)), "day")

        found = {r["shop"]: (r["sold"], r["note"]) for r in shop.rows(SALES)}
        assert found == {"A": (2, None), "B": (1, "noted")}

    def test_a_column_that_is_declared_is_never_left_out_in_silence(self, shop: Shop) -> None:
        with pytest.raises(KeyError, match="sold"):
            shop.lake.upsert(SALES, sales(("A", 1)).drop_columns(["sold"]), "day")
        assert shop.rows(SALES) == []

    def test_readers_choose_columns_and_rows_to_the_microsecond(self, shop: Shop) -> None:
        shop.lake.append(EVENTS, events(1, 2), 0)
        shop.lake.append(EVENTS, events(3, partition=1), 1)

        def found(where: Any) -> list[str]:
            rows = shop.lake.read(EVENTS.name, ("position",), where)
            return sorted(p.lstrip("0") for p in rows["position"].to_pylist())

        assert found(LessThanOrEqual("at", NOON.isoformat())) == ["1", "3"]
        later = NOON + timedelta(microseconds=1)
        assert found(GreaterThanOrEqual("at", later.isoformat())) == ["2"]
        assert found(And(EqualTo("partition", 1), EqualTo("topic", "orders"))) == ["3"]
        assert found(Or(EqualTo("partition", 7), EqualTo("position", offset(2)))) == ["2"]

    def test_a_reader_continues_with_the_table_that_it_has_loaded(self, shop: Shop) -> None:
        shop.lake.upsert(SALES, sales(("A", 1)), "day")
        before = shop.lake.state(SALES.name)
        assert before is not None
        shop.lake.upsert(SALES, sales(("A", 2)), "day")
        assert before.added_since(0).to_arrow()["sold"].to_pylist() == [1]

    def test_what_is_new_is_found_commit_by_commit(self, shop: Shop) -> None:
        def look(since: int) -> tuple[list[str], int]:
            state = shop.lake.state(EVENTS.name)
            assert state is not None
            added = state.added_since(since)
            found = added.to_arrow(("position",))["position"].to_pylist()
            assert added.rows == len(found)
            assert added.newest == state.newest
            last = state.newest.sequence if state.newest else 0
            return sorted(p.lstrip("0") for p in found), last

        assert look(0) == ([], 0)
        shop.lake.append(EVENTS, events(1, 2), 0)
        _, first = look(0)
        shop.lake.append(EVENTS, events(3), 1)
        assert look(first)[0] == ["3"]
        assert look(0)[0] == ["1", "2", "3"]
        assert look(look(0)[1])[0] == []

    def test_a_rewritten_row_counts_as_new(self, shop: Shop) -> None:
        shop.lake.upsert(SALES, sales(("A", 1), ("B", 1)), "day")
        first = shop.lake.state(SALES.name)
        assert first is not None
        assert first.newest is not None
        shop.lake.upsert(SALES, sales(("A", 2)), "day")
        now = shop.lake.state(SALES.name)
        assert now is not None
        new = now.added_since(first.newest.sequence).to_arrow().to_pylist()
        assert {"shop": "A", "day": MAY, "sold": 2} in new

    def test_the_bounds_of_what_is_new_enclose_its_rows(self, shop: Shop) -> None:
        shop.lake.append(EVENTS, events(1, 2), 0)
        shop.lake.upsert(SALES, sales(("A", 1)), "day")
        arrived, sold_on = (shop.lake.state(t.name) for t in (EVENTS, SALES))
        assert arrived is not None
        assert sold_on is not None
        low, high = arrived.added_since(0).span("at") or (NOON, NOON)
        last = NOON + timedelta(seconds=1)
        assert NOON - timedelta(milliseconds=1) <= low <= NOON
        assert last <= high <= last + timedelta(milliseconds=1)
        assert arrived.added_since(0).span("position") is None
        midnight = datetime(2024, 5, 1, tzinfo=timezone.utc)
        assert sold_on.added_since(0).span("day") == (midnight, midnight)

    def test_small_tables_are_replaced_whole_and_logs_grow(self, shop: Shop) -> None:
        for number in (1, 2):
            shop.lake.replace(SALES, sales(("A", number)))
        shop.lake.add(SALES, sales(("A", 7)))
        assert [r["sold"] for r in shop.rows(SALES)] == [2, 7]

    def test_a_table_that_is_not_there_is_one_sentence(self, shop: Shop) -> None:
        assert shop.lake.state("gold.nothing") is None
        with pytest.raises(LakeError, match=r"no table gold\.nothing"):
            shop.lake.read("gold.nothing")

    @pytest.mark.parametrize("known", [True, False], ids=["running", "starting"])
    def test_a_stream_whose_table_is_dropped_fails_and_continues_with_a_new_one(
        self, shop: Shop, *, known: bool
    ) -> None:
        shop.lake.append(EVENTS, events(1), 0)
        shop.lake.upsert(SALES, sales(("A", 1)), "day")
        for table in TABLES:
            shop.drop(table)
        stream = shop.lake if known else shop.lake.another()
        with pytest.raises(LakeError, match=r"no table silver\.events.*storelake backfill"):
            stream.append(EVENTS, events(2), 1)
        with pytest.raises(LakeError, match=r"no table gold\.sales"):
            stream.upsert(SALES, sales(("A", 2)), "day")

        for table in TABLES:
            shop.make(table)
        assert shop.lake.another().append(EVENTS, events(2), 1) == 1
        shop.lake.another().upsert(SALES, sales(("A", 2)), "day")
        assert [p for _, _, p in shop.positions()] == [offset(2)]
        assert sold(shop.rows(SALES)) == {("A", MAY): 2}

    def test_a_purge_removes_old_rows_for_good_and_keeps_the_positions(self, shop: Shop) -> None:
        old = NOON - timedelta(days=40)
        shop.lake.append(EVENTS, pa.concat_tables([events(1, at=old), events(2)]), 0)
        shop.lake.append(EVENTS, events(8, partition=1, at=old), 1)

        purged = purge(shop.lake.another(), EVENTS, "at", NOON - timedelta(days=30))

        assert (purged.rows_deleted, purged.rows_left, purged.oldest) == (2, 0, NOON)
        assert purged.files_deleted >= 2
        assert purged.left_in == ()
        again = pa.concat_tables([events(1, 2), events(8, partition=1)])
        assert shop.lake.another().append(EVENTS, again, 0) == 0
        assert shop.positions() == [("orders", 0, offset(2))]

    def test_rows_without_a_time_go_with_the_old_ones(self, shop: Shop) -> None:
        rows = events(1, 2)
        no_time = pa.nulls(2, rows["at"].type)
        timeless = events(3, 4).set_column(rows.schema.get_field_index("at"), "at", no_time)
        shop.lake.append(EVENTS, pa.concat_tables([rows, timeless]), 0)

        purged = purge(shop.lake.another(), EVENTS, "at", NOON - timedelta(days=30))

        assert (purged.rows_deleted, purged.rows_left, purged.left_in) == (2, 0, ())
        assert [r["position"] for r in shop.rows(EVENTS)] == [offset(1), offset(2)]

    def test_a_purge_beside_a_stream_disturbs_neither(self, shop: Shop) -> None:
        shop.lake.append(EVENTS, events(1, at=NOON - timedelta(days=40)), 0)
        purge(shop.lake.another(), EVENTS, "at", NOON)
        # The stream loaded the table before the purge.
        assert shop.lake.append(EVENTS, events(1, 2), 1) == 1
        assert [p for _, _, p in shop.positions()] == [offset(2)]


def widened(table: Table, column: str) -> Table:
    """The table as a newer release declares it."""
    return replace(table, columns=f"{table.columns}, {column} string")
