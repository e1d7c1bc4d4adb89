"""The serving database: the same rows whatever the order, the batches, the repetitions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from threading import Event
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conf.settings import Settings
from streaming.jobs import footfall
from streaming.sinks.orders import KEEP_STAGED, stage_orders, write_orders
from streaming.sinks.postgres import ClosedBatch, Database, stage
from tests.support.order_rows import MINUTE, TEN, Row, change, order, table
from tests.support.postgres_local import delete_rows

pytestmark = pytest.mark.requirement("O5")

TABLES = (
    "orders_raw, orders_processed, order_contributions, order_metrics, footfall_minute, "
    "payments_hourly, zone_visits, store_hourly, stream_batches, stream_offsets, stream_watermarks"
)
BODY = ("customer_id", "payment_method", "total_price", "created_at", "item_count")


@pytest.fixture(autouse=True)
def empty(db: Database) -> None:
    clear(db)


def clear(db: Database) -> None:
    delete_rows(db, TABLES)


def processed(db: Database) -> dict[str, Row]:
    """orders_processed by order, without the time of writing."""
    rows = db.fetch("SELECT * FROM orders_processed ORDER BY order_id")
    return {r["order_id"]: r for r in rows}


def metrics(db: Database) -> dict[tuple[str, datetime], Row]:
    """Hours with orders, without what counts the writing."""
    ignored = {"revision", "updated_at", "change_id", "is_final", "metric_date", "corrected_at"}
    ignored |= {"final_order_count", "final_total_revenue", "final_net_revenue"}
    rows = db.fetch("SELECT * FROM order_metrics WHERE order_count > 0")
    return {
        (r["branch_id"], r["hour"]): {k: v for k, v in r.items() if k not in ignored} for r in rows
    }


def apply_metrics(
    db: Database, rows: Sequence[Row], watermark: datetime = TEN, after: timedelta = 60 * MINUTE
) -> None:
    with db.transaction() as connection:
        stage_orders(connection, table(rows))
        connection.execute("SELECT upsert_order_metrics()")
        connection.execute(
            "INSERT INTO stream_watermarks VALUES ('real_time_metrics', %s) "
            "ON CONFLICT (stream) DO UPDATE SET watermark = EXCLUDED.watermark",
            (watermark,),
        )
        connection.execute("SELECT close_order_hours(%s)", (after,))


def apply_orders(db: Database, rows: Sequence[Row]) -> None:
    with db.transaction() as connection:
        write_orders(connection, table(rows))


VERSIONS = [
    order(1),
    order(2, 5, event_type="order.updated", total_price=Decimal("7.25"), payment_method="online"),
    change(3, 6, "processing"),
    change(4, 6, "completed"),
    change(0, 2, "processing"),
    order(5, order_id="O-2", branch_id="B02", created_at=TEN - 61 * MINUTE),
    order(6, 9, order_id="O-2", branch_id="B02", event_type="order.cancelled", status="cancelled",
          created_at=TEN - 61 * MINUTE),
    order(7, 3, order_id="O-2", branch_id="B01", event_type="order.updated", created_at=TEN),
    change(11, 10, "cancelled", order_id="O-2", branch_id="B03"),
    order(8, order_id="O-3", total_price=Decimal("0.10")),
    order(9, 1, order_id="O-3", event_type="order.updated", total_price=Decimal("0.20")),
    change(10, 4, "completed", order_id="O-4"),
]  # fmt: skip
"""Four orders: overtaken by a change, handed over in other branches, corrected, never created."""

SALE = ("branch_id", "created_at")


def newest(rows: Sequence[Row]) -> dict[str, tuple[Row, Row | None]]:
    """Of each order the newest version, and the newest one with a body, sold as the oldest one."""
    found: dict[str, tuple[Row, Row | None]] = {}
    for row in sorted(rows, key=lambda r: str(r["version"])):
        _, body = found.get(row["order_id"], (row, None))
        if row["created_at"]:
            body = row | {name: (body or row)[name] for name in SALE}
        found[row["order_id"]] = (row, body)
    return found


def expected_orders(rows: Sequence[Row]) -> dict[str, Row]:
    found = {}
    for order_id, (status, body) in newest(rows).items():
        times = [r["event_time"] for r in rows if r["order_id"] == order_id]
        found[order_id] = {
            "status": status["status"],
            "branch_id": (body or status)["branch_id"],
            "status_branch_id": status["branch_id"],
            "status_version": status["version"],
            "body_version": body["version"] if body else None,
            "first_event_at": min(times),
            "last_event_at": max(times),
            **{name: body[name] if body else None for name in BODY},
        }
    return found


def expected_metrics(rows: Sequence[Row]) -> dict[tuple[str, datetime], Row]:
    hours: dict[tuple[str, datetime], list[Row]] = {}
    for status, body in newest(rows).values():
        if body:
            key = (body["branch_id"], body["created_at"].replace(minute=0))
            hours.setdefault(key, []).append({**body, "status": status["status"]})
    return {key: _hour(*key, orders) for key, orders in hours.items()}


def _hour(branch_id: str, hour: datetime, orders: list[Row]) -> Row:
    total = sum((o["total_price"] for o in orders), Decimal(0))
    net = sum((o["total_price"] for o in orders if o["status"] != "cancelled"), Decimal(0))
    statuses = ("pending", "processing", "completed", "cancelled")
    return {
        "branch_id": branch_id,
        "hour": hour,
        "currency": "USD",
        "order_count": len(orders),
        "total_revenue": total,
        "net_revenue": net,
        "average_order_value": (total / len(orders)).quantize(Decimal("0.01"), ROUND_HALF_UP),
        **{f"{s}_count": sum(o["status"] == s for o in orders) for s in statuses},
        **{f"{p}_count": sum(o["payment_method"] == p for o in orders) for p in ("cash", "online")},
        "in_store_count": len(orders),
        "in_store_cancelled_count": sum(o["status"] == "cancelled" for o in orders),
        "in_store_revenue": total,
        "return_count": 0,
        "refunds": 0,
    }


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[Row]]:
    """Every version at least once, some twice, in any order, cut into batches anywhere."""
    again = draw(st.lists(st.sampled_from(VERSIONS), max_size=6))
    queue = draw(st.permutations([*VERSIONS, *again]))
    cuts = sorted(draw(st.sets(st.integers(1, len(queue) - 1), max_size=5)))
    return [queue[a:b] for a, b in zip([0, *cuts], [*cuts, len(queue)], strict=True)]


any_delivery = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@any_delivery
@given(batches=deliveries())
def test_orders_do_not_depend_on_how_their_versions_arrive(
    db: Database, batches: list[list[Row]]
) -> None:
    clear(db)
    for batch in batches:
        apply_orders(db, batch)
    expected = expected_orders(VERSIONS)
    found = processed(db)
    assert {key: {name: found[key][name] for name in row} for key, row in expected.items()} == (
        expected
    )
    assert found.keys() == expected.keys()
    raw = [r["event_id"] for r in db.fetch("SELECT event_id FROM orders_raw")]
    assert sorted(raw) == sorted(v["event_id"] for v in VERSIONS)


@any_delivery
@given(batches=deliveries())
def test_metrics_do_not_depend_on_how_the_versions_arrive(
    db: Database, batches: list[list[Row]]
) -> None:
    clear(db)
    for batch in batches:
        apply_metrics(db, batch)
    assert metrics(db) == expected_metrics(VERSIONS)


def test_an_hour_is_final_once_the_watermark_has_passed_its_end_and_the_lateness(
    db: Database,
) -> None:
    def is_final() -> bool:
        (row,) = db.fetch("SELECT is_final FROM order_metrics")
        return bool(row["is_final"])

    apply_metrics(db, [order(1)], TEN + 120 * MINUTE - timedelta(microseconds=1))
    assert not is_final()
    apply_metrics(db, [], TEN + 120 * MINUTE)
    assert is_final()


def test_the_subtotal_is_the_exact_sum_of_the_lines_of_the_newest_body(db: Database) -> None:
    def lines(*values: tuple[int, str]) -> list[Row]:
        return [{"quantity": n, "unit_price": Decimal(price)} for n, price in values]

    apply_orders(db, [order(2, 1, items=lines((3, "0.10"), (100_000, "0.07")))])
    apply_orders(db, [order(1, items=lines((1, "9.99"))), change(3, 2, "completed")])
    assert processed(db)["O-1"]["subtotal"] == Decimal("7000.30")


def test_text_of_any_kind_is_stored_as_it_is(db: Database) -> None:
    # Line breaks, quotes, and what ends a COPY when it stands alone on a line.
    hostile = ["a\n\\.\nb", '","', "\\N", "", "'; DROP TABLE orders_raw; --", "🛒", "\t\r\n", "a\\"]
    rows = [order(n, order_id=f"O-{n}", customer_id=text) for n, text in enumerate(hostile)]
    apply_orders(db, rows)
    assert [row["customer_id"] for row in processed(db).values()] == hostile


def test_the_event_is_kept_as_json(db: Database) -> None:
    event = {"order": {"items": [{"name": 'a "b" \\ \n'}]}, "n": 1e3}
    apply_orders(db, [order(1, value=json.dumps(event).encode())])
    assert [r["payload"] for r in db.fetch("SELECT payload FROM orders_raw")] == [event]


# The ledger


def test_a_batch_that_comes_again_writes_nothing(db: Database) -> None:
    rows = table([order(1), order(2, order_id="O-2")])
    assert db.commit_rows("orders", rows, write_orders) == 2
    before = processed(db)
    assert db.commit_rows("orders", rows, write_orders) == 0
    assert processed(db) == before
    for new in (2, 0):
        db.close_batch(7, {"orders": ClosedBatch(2, new)})
    (ledger,) = db.fetch("SELECT rows_in, rows_new, runs FROM stream_batches")
    assert (ledger["rows_in"], ledger["rows_new"], ledger["runs"]) == (4, 2, 2)


def test_the_watermark_of_a_stream_is_one_row_and_never_falls(db: Database) -> None:
    for number, minutes in enumerate((10, 5, 20)):
        db.close_batch(number, {"orders": ClosedBatch(1, 1, TEN + minutes * MINUTE)})
    assert db.fetch("SELECT stream, watermark FROM stream_watermarks") == [
        {"stream": "orders", "watermark": TEN + 20 * MINUTE}
    ]
    assert db.progress("orders")[1] == TEN + 20 * MINUTE


def test_the_ledger_keeps_the_days_it_was_reported_to(db: Database) -> None:
    for number in range(3):
        db.close_batch(number, {"orders": ClosedBatch(1, 1)})
    with db.transaction() as connection:
        connection.execute(
            "UPDATE stream_batches SET committed_at = now() - batch_id * interval '4 days'"
        )
    assert db.expire_batches(timedelta(days=7)) == 1
    assert [r["batch_id"] for r in db.fetch("SELECT batch_id FROM stream_batches ORDER BY 1")] == [
        0,
        1,
    ]


def test_of_a_batch_that_comes_again_longer_only_the_new_rows_are_written(db: Database) -> None:
    written: list[list[str]] = []

    def write(_: psycopg.Connection[Any], rows: pa.Table) -> None:
        written.append(rows["event_id"].to_pylist())

    db.commit_rows("orders", table([order(1)]), write)
    db.commit_rows("orders", table([order(1), order(2), order(3, partition=1)]), write)
    assert written == [["E-1"], ["E-2", "E-3"]]


def test_streams_do_not_know_each_others_progress(db: Database) -> None:
    rows = table([order(1)])
    assert db.commit_rows("orders", rows, write_orders) == 1
    assert db.commit_rows("metrics", rows, lambda *_: None) == 1


def test_a_batch_that_fails_leaves_no_trace(db: Database) -> None:
    def write(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
        write_orders(connection, rows)
        raise RuntimeError("the machine is gone")

    with pytest.raises(RuntimeError, match="the machine is gone"):
        db.commit_rows("orders", table([order(1)]), write)
    assert processed(db) == {}
    assert db.progress("orders") == ({}, None)
    assert db.commit_rows("orders", table([order(1)]), write_orders) == 1


def test_two_attempts_of_a_task_write_its_rows_once(db: Database, services: Settings) -> None:
    """The second one waits for the first, and finds its rows committed."""
    tasks = Database(services.postgres.dsn, 3)
    rows, begun, may_end = table([order(1), order(2, order_id="O-2")]), Event(), Event()

    def slowly(connection: psycopg.Connection[Any], new: pa.Table) -> None:
        begun.set()
        assert may_end.wait(20)
        write_orders(connection, new)

    with ThreadPoolExecutor(2) as attempts:
        first = attempts.submit(tasks.commit_rows, "orders", rows, slowly)
        assert begun.wait(20)
        second = attempts.submit(tasks.commit_rows, "orders", rows, write_orders)
        other = table([order(3, order_id="O-3", partition=1)])
        assert tasks.commit_rows("orders", other, write_orders) == 1  # waits for neither
        may_end.set()
        assert (first.result(20), second.result(20)) == (2, 0)
    tasks.close()
    assert sorted(processed(db)) == ["O-1", "O-2", "O-3"]


def test_the_streams_of_a_task_stage_its_orders_once(db: Database, services: Settings) -> None:
    rows = table([order(1), order(2, order_id="O-2")])
    with closing(Database(services.postgres.dsn, 1, options=KEEP_STAGED)) as of_task:
        of_task.commit_rows("orders", rows, write_orders)

        def staged(connection: psycopg.Connection[Any], new: pa.Table) -> None:
            connection.execute("DELETE FROM pg_temp.newest_orders WHERE order_id = 'O-2'")
            stage_orders(connection, new)  # are there
            found = connection.execute("SELECT order_id FROM pg_temp.newest_orders").fetchall()
            assert found == [("O-1",)]
            stage_orders(connection, new.slice(0, 1))  # others, in their place
            found = connection.execute("SELECT event_id FROM pg_temp.order_events").fetchall()
            assert found == [("E-1",)]

        assert of_task.commit_rows("metrics", rows, staged) == 2


# Cameras, and where they meet the tills

BRANCHES = json.dumps(
    [
        {
            "branch_id": "B01",
            "timezone": "America/New_York",
            "currency": "USD",
            "cameras": 2,
            "entrances": ["B01-entrance", "B01-back"],
        }
    ]
)


def frames(
    *counts: tuple[int, int], at: datetime = TEN, camera_id: str = "B01-entrance"
) -> pa.Table:
    """Frames a second apart, each with (entries, exits)."""
    return pa.table(
        {
            "branch_id": ["B01"] * len(counts),
            "camera_id": [camera_id] * len(counts),
            "captured_at": pa.array(
                [at + timedelta(seconds=n) for n in range(len(counts))],
                pa.timestamp("us", tz="UTC"),
            ),
            "entries": [entries for entries, _ in counts],
            "exits": [exits for _, exits in counts],
            "frames": [1] * len(counts),
            "late_frames": [0] * len(counts),
            "people": [entries + exits for entries, exits in counts],
        }
    )


def apply_footfall(db: Database, *batches: pa.Table) -> None:
    for batch in batches:
        with db.transaction() as connection:
            stage(connection, "frame_counts", footfall.STAGE, batch)
            connection.execute("SELECT upsert_footfall_minute()")


def apply_hours(db: Database, trusted: float = 0) -> None:
    with db.transaction() as connection:
        connection.execute("SELECT upsert_store_hourly(%s, %s)", (BRANCHES, trusted))


@pytest.fixture
def hour(db: Database) -> Callable[..., Row]:
    """The one hour of store_hourly, computed now; `trusted` is the least coverage."""

    def read(trusted: float = 0) -> Row:
        apply_hours(db, trusted)
        (row,) = db.fetch("SELECT * FROM store_hourly")
        return row

    return read


def test_a_minute_sums_its_frames_over_batches(db: Database) -> None:
    apply_footfall(db, frames((1, 0), (0, 0), (0, 2)), frames((3, 0), at=TEN + MINUTE / 2))
    (row,) = db.fetch("SELECT minute, entries, exits, frames, revision FROM footfall_minute")
    assert row == {"minute": TEN, "entries": 4, "exits": 2, "frames": 4, "revision": 2}


def test_a_frame_belongs_to_the_minute_it_was_taken_in(db: Database) -> None:
    apply_footfall(db, frames((1, 0), (2, 0), at=TEN + MINUTE - timedelta(seconds=1)))
    rows = db.fetch("SELECT minute, entries FROM footfall_minute ORDER BY minute")
    assert [(r["minute"], r["entries"]) for r in rows] == [(TEN, 1), (TEN + MINUTE, 2)]


def test_an_hour_joins_tills_and_cameras(db: Database, hour: Callable[[], Row]) -> None:
    apply_metrics(db, [order(1), order(2, order_id="O-2", status="cancelled")])
    apply_footfall(db, frames((3, 0)), frames((1, 0), camera_id="B01-back", at=TEN + MINUTE))
    row = hour()
    assert (row["visitors"], row["orders"], row["conversion_rate"]) == (4, 2, 0.5)
    assert (row["revenue"], row["net_revenue"]) == (Decimal("5.00"), Decimal("2.50"))
    assert row["revenue_per_visitor"] == Decimal("1.25")
    assert row["camera_coverage"] == pytest.approx(2 / 120)
    assert row["local_hour"] == datetime(2024, 5, 1, 6)  # noqa: DTZ001 - a wall clock


def test_without_a_camera_visitors_and_conversion_are_unknown(
    db: Database, hour: Callable[[], Row]
) -> None:
    apply_metrics(db, [order(1)])
    row = hour()
    assert (row["visitors"], row["conversion_rate"], row["revenue_per_visitor"]) == (None,) * 3
    assert (row["orders"], row["camera_coverage"]) == (1, 0)
    assert row["conversion_withheld"] == "no visitors counted"


@pytest.mark.parametrize(
    ("entries", "trusted", "reason"),
    [(0, 0, "above 100 %"), (1, 0, "above 100 %"), (9, 0.5, "coverage below 0.5"), (2, 0, None)],
)
def test_conversion_is_withheld_where_it_cannot_be_trusted(
    db: Database, hour: Callable[..., Row], entries: int, trusted: float, reason: str | None
) -> None:
    apply_metrics(db, [order(1), order(2, order_id="O-2")])
    apply_footfall(db, frames((entries, 3)))
    row = hour(trusted)
    rates = ("conversion_rate", "conversion_rate_net", "revenue_per_visitor")
    assert (row["visitors"], row["conversion_withheld"]) == (entries, reason)
    assert all((row[rate] is None) == (reason is not None) for rate in rates)


def test_conversion_counts_orders_made_in_the_shop_and_net_of_cancelled_ones(
    db: Database, hour: Callable[[], Row]
) -> None:
    made = [
        order(1, order_id="till"),  # version 1: a till sends no channel
        order(2, order_id="gone", channel="in_store", status="cancelled"),
        order(3, order_id="web", channel="web", total_price=Decimal(100)),
    ]
    apply_metrics(db, made)
    apply_footfall(db, frames((4, 0)))
    row = hour()
    assert (row["orders"], row["orders_in_store"], row["orders_in_store_net"]) == (3, 2, 1)
    assert (row["conversion_rate"], row["conversion_rate_net"]) == (0.5, 0.25)
    assert (row["revenue"], row["revenue_per_visitor"]) == (Decimal("105.00"), Decimal("1.25"))


def test_revenue_is_of_orders_in_the_currency_of_the_branch(
    db: Database, hour: Callable[[], Row]
) -> None:
    apply_metrics(
        db, [order(1), order(2, order_id="O-2", currency="JPY", total_price=Decimal(900))]
    )
    row = hour()
    assert (row["currency"], row["revenue"]) == ("USD", Decimal("2.50"))
    assert (row["orders"], row["orders_other_currency"]) == (2, 1)


def test_an_hour_without_orders_converts_nobody(db: Database, hour: Callable[[], Row]) -> None:
    apply_footfall(db, frames((5, 0)))
    row = hour()
    assert (row["orders"], row["conversion_rate"], row["revenue"]) == (0, 0, 0)


def test_a_late_change_of_either_side_corrects_the_hour(
    db: Database, hour: Callable[[], Row]
) -> None:
    apply_metrics(db, [order(1)])
    apply_footfall(db, frames((4, 0)))
    assert hour()["conversion_rate"] == 0.25
    apply_metrics(db, [order(2, order_id="O-2")])
    assert hour()["conversion_rate"] == 0.5
    apply_footfall(db, frames((4, 0), at=TEN + 59 * MINUTE))
    assert hour()["conversion_rate"] == 0.25


def test_computing_twice_changes_nothing(db: Database, hour: Callable[[], Row]) -> None:
    apply_metrics(db, [order(1)])
    apply_footfall(db, frames((4, 0)))
    assert hour() == hour()


# What differs by currency, method and time


def test_each_currency_has_its_own_row_and_its_own_decimals(db: Database) -> None:
    def yen(number: int, price: int) -> Row:
        total = Decimal(price)
        return order(number, order_id=f"O-{number}", currency="JPY", total_price=total)

    apply_metrics(db, [order(1), yen(2, 100)])
    apply_metrics(db, [yen(3, 201)])
    rows = db.fetch(
        "SELECT currency, order_count, total_revenue, average_order_value::text AS average "
        "FROM order_metrics ORDER BY currency"
    )
    assert [tuple(r.values()) for r in rows] == [
        ("JPY", 2, 301, "151.0000"),
        ("USD", 1, Decimal("2.50"), "2.5000"),
    ]


def test_an_order_whose_currency_is_corrected_moves_to_the_other_row(db: Database) -> None:
    apply_metrics(db, [order(1)])
    apply_metrics(db, [order(2, 1, event_type="order.updated", currency="EUR")])
    counts = {r["currency"]: r["order_count"] for r in db.fetch("SELECT * FROM order_metrics")}
    assert counts == {"USD": 0, "EUR": 1}


def payments(db: Database) -> dict[str, tuple[int, Decimal, Decimal]]:
    rows = db.fetch("SELECT * FROM payments_hourly")
    return {r["method"]: (r["order_count"], r["total_amount"], r["net_amount"]) for r in rows}


MIXED = json.dumps([{"method": "card", "amount": "10.50"}, {"method": "voucher", "amount": 2}])


def test_what_was_paid_is_counted_by_method(db: Database) -> None:
    parts = order(
        2,
        order_id="O-2",
        payment_method="mixed",
        payments_json=MIXED,
        total_price=Decimal("12.50"),
    )
    apply_metrics(db, [order(1), parts])
    assert payments(db) == {
        "cash": (1, Decimal("2.50"), Decimal("2.50")),
        "card": (1, Decimal("10.50"), Decimal("10.50")),
        "voucher": (1, Decimal(2), Decimal(2)),
    }
    apply_metrics(db, [change(3, 9, "cancelled", order_id="O-2")])
    assert payments(db)["card"] == (1, Decimal("10.50"), Decimal(0))


def test_a_return_lowers_net_revenue_on_its_own_day(db: Database) -> None:
    back = order(
        2,
        event_type="order.returned",
        is_return=True,
        order_id="R-1",
        status="completed",
        total_price=Decimal("-2.50"),
        created_at=TEN + timedelta(days=1),
    )
    apply_metrics(db, [order(1), back])
    names = ("order_count", "total_revenue", "net_revenue", "return_count", "refunds")
    sold, returned = db.fetch("SELECT * FROM order_metrics ORDER BY hour")
    assert [sold[n] for n in names] == [1, Decimal("2.50"), Decimal("2.50"), 0, 0]
    assert [returned[n] for n in names] == [0, 0, Decimal("-2.50"), 1, Decimal("2.50")]
    nets = db.fetch("SELECT order_count, net_amount FROM payments_hourly ORDER BY hour")
    assert [tuple(n.values()) for n in nets] == [(1, Decimal("2.50")), (0, Decimal("-2.50"))]


def test_a_final_hour_keeps_its_figures_beside_the_corrected_ones(db: Database) -> None:
    apply_metrics(db, [order(1)], TEN + 120 * MINUTE)
    apply_metrics(db, [change(2, 200, "completed")], TEN + 200 * MINUTE)
    (row,) = db.fetch("SELECT * FROM order_metrics")
    assert (row["is_final"], row["final_net_revenue"]) == (True, Decimal("2.50"))
    assert (row["completed_count"], row["corrected_at"]) == (1, None)  # no figure of a report
    apply_metrics(db, [change(3, 300, "cancelled")], TEN + 300 * MINUTE)
    (row,) = db.fetch("SELECT * FROM order_metrics")
    assert (row["net_revenue"], row["final_net_revenue"]) == (0, Decimal("2.50"))
    assert row["corrected_at"] is not None


def test_an_hour_becomes_final_with_its_orders(db: Database, hour: Callable[[], Row]) -> None:
    apply_metrics(db, [order(1)])
    assert not hour()["is_final"]
    apply_metrics(db, [], TEN + 120 * MINUTE)
    assert hour()["is_final"]


def test_an_hour_of_an_unknown_branch_waits_and_holds_up_nobody(
    db: Database, hour: Callable[[], Row]
) -> None:
    apply_metrics(db, [order(1, branch_id="B09", order_id="O-9"), order(2)])
    assert hour()["branch_id"] == "B01"
