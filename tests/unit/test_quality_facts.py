"""Facts of several tables: each injected fault is found, and a clean deployment has none."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from conf.contracts.order_event import STATUSES
from conf.settings import Settings
from conf.stores import OpeningHours, Stores
from quality.suite import Suite
from quality.suites import all_suites, anomalies, business, counted, frames
from quality.suites.accounts import account_suites
from quality.suites.arithmetic import order_arithmetic
from quality.suites.labels import label_suites
from quality.suites.replicas import replica_suites
from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    BRONZE_ORDER_EVENTS,
    GOLD_ORDER_HOURLY,
    GOLD_STORE_HOURLY,
    QUARANTINE_LATE_EVENTS,
    QUARANTINE_ORDER_EVENTS,
    SILVER_DETECTIONS,
    SILVER_ORDERS,
    TABLES,
    Table,
)
from tests.support.builders import as_json, detection, detection_event
from tests.support.memory_context import MemoryContext
from tests.support.validating import Finding, validate
from tests.unit.test_quality_tables import good_row, rows_in, schema_of

pytestmark = pytest.mark.requirement("Q1")

NOON = datetime(2024, 5, 15, 12, tzinfo=timezone.utc)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def context(settings: Settings, stores: Stores) -> MemoryContext:
    """Every table, without a row."""
    tables = {t.name: schema_of(t).empty_table() for t in TABLES}
    return MemoryContext(settings, stores, NOON, tables=tables)


def suites_of(context: MemoryContext, suites: Iterable[Suite], name: str) -> list[Suite]:
    return [suite for suite in suites if suite.name == name]


def put(context: MemoryContext, table: Table, *rows: dict[str, Any]) -> None:
    context.tables[table.name] = rows_in(table, *(good_row(table, **row) for row in rows))


def at(number: int, **more: Any) -> dict[str, Any]:
    """A message of partition 0 by its position; one a second, up to noon."""
    row = {"topic": "order-created", "partition": 0, "position": f"{number:020d}"}
    return {**row, "timestamp": NOON - timedelta(seconds=1000 - number), **more}


def ids(findings: list[Finding]) -> list[str]:
    return sorted(finding.id for finding in findings)


def test_a_context_without_a_row_has_no_finding(context: MemoryContext) -> None:
    assert validate(all_suites(context.settings, context.stores), context) == []


def test_a_context_without_a_table_has_no_finding(context: MemoryContext) -> None:
    context.tables = {}
    assert validate(all_suites(context.settings, context.stores), context) == []


def test_ids_are_unique_and_every_sample_names_something(context: MemoryContext) -> None:
    suites = all_suites(context.settings, context.stores)
    names = [(s.table, s.name, e.meta["name"]) for s in suites for e in s.expectations]
    assert len(names) == len(set(names))
    assert all(suite.sample for suite in suites)


# Orders, from the topic to silver.


def account(context: MemoryContext) -> list[Finding]:
    return validate(account_suites(context.settings), context)


def test_what_is_accepted_quarantined_or_not_yet_reached_is_accounted_for(
    context: MemoryContext,
) -> None:
    put(context, BRONZE_ORDER_EVENTS, *(at(n) for n in range(10)))
    put(context, SILVER_ORDERS, *(at(n) for n in (0, 1, 2, 4, 5)))
    put(context, QUARANTINE_ORDER_EVENTS, at(3), at(6), at(7))
    put(context, QUARANTINE_LATE_EVENTS, at(4))
    assert account(context) == []


def test_a_message_that_is_in_no_table_is_named(context: MemoryContext) -> None:
    put(context, BRONZE_ORDER_EVENTS, *(at(n) for n in range(6)))
    put(context, SILVER_ORDERS, *(at(n) for n in (0, 1, 3, 4, 5)))
    [finding] = account(context)
    assert finding.id == "bronze.order_events.account.accounted_for"
    [row] = finding.rows
    assert (row["topic"], row["partition"], row["example"]) == ("order-created", 0, f"{2:020d}")


def test_a_row_of_silver_without_a_message_is_named(context: MemoryContext) -> None:
    put(context, BRONZE_ORDER_EVENTS, at(0), at(1), at(3))
    put(context, SILVER_ORDERS, *(at(n) for n in range(4)))
    assert ids(account(context)) == ["bronze.order_events.account.received"]


def test_a_late_event_that_silver_has_not_accepted_is_named(context: MemoryContext) -> None:
    put(context, BRONZE_ORDER_EVENTS, *(at(n) for n in range(4)))
    put(context, SILVER_ORDERS, at(0), at(2), at(3))
    put(context, QUARANTINE_ORDER_EVENTS, at(1))
    put(context, QUARANTINE_LATE_EVENTS, at(1), at(2))
    assert ids(account(context)) == ["bronze.order_events.account.late_accepted"]


def test_bursts_of_bad_and_of_late_messages_are_warnings_of_their_hour(
    context: MemoryContext,
) -> None:
    put(context, BRONZE_ORDER_EVENTS, *(at(n) for n in range(300)))
    put(context, SILVER_ORDERS, *(at(n) for n in range(60, 300)))
    put(context, QUARANTINE_ORDER_EVENTS, *(at(n) for n in range(60)))
    put(context, QUARANTINE_LATE_EVENTS, *(at(n) for n in range(100, 160)))
    found = account(context)
    assert ids(found) == [
        "bronze.order_events.account.late_share",
        "bronze.order_events.account.quarantined_share",
    ]
    assert {f.severity for f in found} == {"warning"}
    assert [row["hour"].hour for f in found for row in f.rows] == [11, 11]


def test_an_accepted_order_is_counted_at_its_amount_once_the_metrics_have_passed_it(
    context: MemoryContext,
) -> None:
    orders = [
        at(n, order_id=f"O-{n}", version=f"{n:03d}", event_time=NOON, total_price=Decimal(n))
        for n in range(1, 6)
    ]
    put(context, SILVER_ORDERS, *orders)
    put(context, QUARANTINE_LATE_EVENTS, at(2))
    passed = {"topic": "order-created", "partition": 0, "position": f"{4:020d}"}
    known = {
        n: {
            "order_id": f"O-{n}",
            "status_version": f"{n:03d}",
            "body_version": f"{n:03d}",
            "total_price": Decimal(n),
        }
        for n in (1, 3, 4)
    }
    context.answers = {
        counted.OFFSETS_SQL: [passed],
        counted.CONTRIBUTIONS_SQL: list(known.values()),
    }
    assert validate(counted.counted_suites(), context) == []

    known[3]["total_price"] = Decimal("3.50")
    context.answers[counted.CONTRIBUTIONS_SQL] = [known[1], known[3]]
    found = validate(counted.counted_suites(), context)
    assert ids(found) == [
        "silver.orders.metrics.at_its_amount",
        "silver.orders.metrics.counted",
    ]
    assert found[0].rows[0]["example"] == "O-4"


# Frames, from the topic to the minute.


def frame(number: int, **more: Any) -> dict[str, Any]:
    """A message of a frame; one every two seconds."""
    captured = NOON - 10 * MINUTE + timedelta(seconds=number * 2)
    value = detection_event(
        frame_index=number, captured_at=captured.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), **more
    )
    return at(number, topic="detections", timestamp=captured, value=as_json(value))


def film(context: MemoryContext, *, gone: int = -1, empty: int = 5) -> None:
    """Six minutes: footfall counted all frames, silver has not the frame `gone`."""
    messages = [frame(n, detections=[] if n == empty else [detection()]) for n in range(180)]
    put(context, BRONZE_DETECTIONS, *messages)
    seen = (m for n, m in enumerate(messages) if n not in (gone, empty))
    put(context, SILVER_DETECTIONS, *({**m, "captured_at": m["timestamp"]} for m in seen))
    context.answers[frames.FRAMES_SQL] = [
        {"topic": "detections", "partition": 0, "position": f"{179:020d}"},
        *(
            {
                "topic": None,
                "branch_id": "B01",
                "camera_id": "B01-entrance",
                "minute": NOON - 10 * MINUTE + n * MINUTE,
                "frames": 30,
                "late_frames": 0,
                "updated_at": NOON,
            }
            for n in range(6)
        ),
    ]


def test_every_frame_is_in_silver_and_in_its_minute(context: MemoryContext) -> None:
    film(context)
    assert validate([*account_suites(context.settings), *frames.frame_suites()], context) == []


def test_a_frame_with_people_that_silver_lacks_is_named(context: MemoryContext) -> None:
    film(context, gone=77)
    [finding] = account(context)
    assert finding.id == "bronze.detections.account.accounted_for"
    assert finding.rows[0]["example"] == f"{77:020d}"


def test_a_minute_that_footfall_has_not_counted_wholly_is_named(context: MemoryContext) -> None:
    film(context)
    context.answers[frames.FRAMES_SQL][3]["frames"] = 29  # type: ignore[index]
    [finding] = validate(frames.frame_suites(), context)
    assert finding.id == "postgres.footfall_minute.frames.counted"
    assert (finding.rows[0]["camera_id"], finding.rows[0]["differs"]) == (
        "B01-entrance",
        "30 came, 29 counted",
    )


def test_minutes_that_the_lake_has_not_reached_are_no_fault(context: MemoryContext) -> None:
    film(context)
    context.answers[frames.FRAMES_SQL][0]["position"] = f"{900:020d}"  # type: ignore[index]
    context.answers[frames.FRAMES_SQL][3]["frames"] = 150  # type: ignore[index]
    assert validate(frames.frame_suites(), context) == []


# Copies.


def test_a_copy_is_compared_up_to_its_newest_change(context: MemoryContext) -> None:
    table = GOLD_ORDER_HOURLY
    hours = [{"hour": NOON - n * HOUR, "change_id": 10 - n, "order_count": 5} for n in (1, 2, 3)]
    put(context, table, *hours)
    [suite] = [s for s in replica_suites() if s.table == "postgres.order_metrics"]
    sql = suite.rows.__self__.sql  # type: ignore[union-attr]
    served = [
        {
            **dict.fromkeys(suite.rows.__self__.summed, 1),  # type: ignore[union-attr]
            "branch_id": "B01",
            "hour": h["hour"],
            "rows": 1,
            "order_count": 5,
            "change_id": h["change_id"],
            "newest": h["change_id"],
        }
        for h in hours
    ]
    served.append({**served[0], "hour": NOON, "change_id": 11, "newest": 11})
    context.answers[sql] = served
    assert validate([suite], context) == []

    served[1]["total_revenue"] = 2
    [finding] = validate([suite], context)
    assert finding.id == "postgres.order_metrics.twin.equals_lake"
    assert finding.rows[0]["differs"] == "total_revenue: 2 and 1.0000"


# The day of a shop.


@pytest.mark.parametrize(
    ("table", "column", "value", "named"),
    [
        (GOLD_ORDER_HOURLY, "pending_count", 3, "statuses"),
        (GOLD_ORDER_HOURLY, "online_count", 9, "payments"),
        (GOLD_ORDER_HOURLY, "average_order_value", Decimal(7), "average_order_value"),
        (GOLD_ORDER_HOURLY, "in_store_count", 5, "in_store"),
        (GOLD_STORE_HOURLY, "conversion_rate", 0.9, "conversion_rate"),
        (GOLD_STORE_HOURLY, "conversion_rate_net", None, "conversion_rate_net_shown"),
        (GOLD_STORE_HOURLY, "revenue_per_visitor", Decimal(7), "revenue_per_visitor"),
    ],
)
def test_a_row_that_contradicts_itself_is_named(
    context: MemoryContext, table: Table, column: str, value: Any, named: str
) -> None:
    good = {
        "order_count": 4,
        "total_revenue": Decimal(10),
        "net_revenue": Decimal(8),
        "average_order_value": Decimal("2.50"),
        "cash_count": 2,
        "online_count": 1,
        "in_store_count": 3,
        "in_store_cancelled_count": 0,
        "currency": "USD",
        "visitors": 8,
        "orders": 9,
        "orders_in_store": 4,
        "orders_in_store_net": 2,
        "conversion_rate": 0.5,
        "conversion_rate_net": 0.25,
        "conversion_withheld": None,
        "revenue_in_store": Decimal(10),
        "revenue_per_visitor": Decimal("1.25"),
    }
    suites = suites_of(context, business.business_suites(context.settings), "arithmetic")
    suites = [suite for suite in suites if suite.table == table.name]
    put(context, table, good)
    assert validate(suites, context) == []
    put(context, table, good, {**good, column: value})
    [finding] = validate(suites, context)
    assert (finding.id, finding.rows[0]["differs"]) == (f"{table.name}.arithmetic.adds_up", named)


@pytest.mark.parametrize(
    ("orders", "revenue", "average", "differs"),
    [
        (0, "0.00", None, None),
        (0, "0.00", "7.00", "average_order_value"),
        (2, "10.00", "5.00", None),
        (2, "10.00", None, "average_order_value"),
    ],
)
def test_an_hour_has_an_average_order_value_where_it_has_orders_and_only_there(
    orders: int, revenue: str, average: str | None, differs: str | None
) -> None:
    zero = ("cash", "online", "in_store", "in_store_cancelled")
    row = good_row(
        GOLD_ORDER_HOURLY,
        **dict.fromkeys((f"{one}_count" for one in (*STATUSES, *zero)), 0)
        | {"pending_count": orders, "order_count": orders},
        total_revenue=Decimal(revenue),
        currency="USD",
        average_order_value=None if average is None else Decimal(average),
    )
    found = order_arithmetic(rows_in(GOLD_ORDER_HOURLY, row))
    assert found["differs"].to_pylist() == [differs]


def test_more_orders_than_visitors_is_a_warning_where_cameras_have_seen_the_hour(
    context: MemoryContext,
) -> None:
    row = {
        "visitors": 2,
        "orders_in_store": 4,
        **dict.fromkeys(("conversion_rate", "conversion_rate_net", "revenue_per_visitor")),
        "conversion_withheld": "coverage below 0.5",
    }
    suites = suites_of(context, business.business_suites(context.settings), "arithmetic")
    put(context, GOLD_STORE_HOURLY, row)
    assert validate(suites, context) == []
    put(context, GOLD_STORE_HOURLY, {**row, "conversion_withheld": "above 100 %"})
    [finding] = validate(suites, context)
    assert finding.id == "gold.store_hourly.arithmetic.conversion_at_most_one"
    assert finding.severity == "warning"


def test_a_camera_without_a_label_that_means_a_person_is_named_with_its_labels(
    context: MemoryContext,
) -> None:
    suites = label_suites()
    labels = {"B01-till": ("Person ", "chair"), "B01-entrance": ("0", "Pedestrian", "human")}
    put(
        context,
        SILVER_DETECTIONS,
        *({"camera_id": c, "class": one, "captured_at": NOON} for c in labels for one in labels[c]),
    )
    [finding] = validate(suites, context)
    assert finding.id == "silver.detections.labels.labels_known"
    assert [(row["camera_id"], row["labels"]) for row in finding.rows] == [
        ("B01-entrance", "0, human, pedestrian")
    ]


def cameras(context: MemoryContext, newest: datetime, **seen: datetime) -> list[Finding]:
    context.answers[business.NEWEST_SQL] = [{"newest": newest}]
    context.answers[business.CAMERAS_SQL] = [
        {"camera_id": name.replace("_", "-"), "seen": moment} for name, moment in seen.items()
    ]
    return validate(
        suites_of(context, business.business_suites(context.settings), "cameras"), context
    )


def test_a_camera_is_stale_when_others_send_and_it_does_not(context: MemoryContext) -> None:
    [finding] = cameras(context, NOON, B01_entrance=NOON - 11 * MINUTE, B01_till=NOON - MINUTE)
    assert finding.id == "postgres.footfall_minute.cameras.camera_silent"
    assert [row["camera_id"] for row in finding.rows] == ["B01-entrance"]


def test_without_any_frame_no_camera_is_stale(context: MemoryContext) -> None:
    context.now = NOON + DAY
    assert cameras(context, NOON, B01_entrance=NOON - 2 * MINUTE) == []


def test_a_camera_may_be_silent_while_its_branch_is_closed(context: MemoryContext) -> None:
    hours = OpeningHours.model_validate({"opens": "13:55", "closes": "20:00"})  # noon UTC: 14:00
    first, *others = context.stores.branches
    branch = first.model_copy(update={"opening_hours": (hours,)})
    context.stores = context.stores.model_copy(update={"branches": (branch, *others)})
    assert cameras(context, NOON, B01_entrance=NOON - 8 * HOUR) == []
    context.now = NOON + HOUR
    assert len(cameras(context, NOON + HOUR, B01_entrance=NOON - 8 * HOUR)) == 1


def streams(context: MemoryContext, **places: tuple[int, datetime]) -> list[Finding]:
    context.answers[business.OFFSETS_SQL] = [
        {
            "stream": name,
            "topic": "order-created",
            "partition": 0,
            "position": f"{number:020d}",
            "committed_at": moment,
        }
        for name, (number, moment) in places.items()
    ]
    return validate(
        suites_of(context, business.business_suites(context.settings), "streams"), context
    )


def test_a_stream_that_leaves_messages_waiting_is_behind(context: MemoryContext) -> None:
    old = NOON - 30 * MINUTE
    [finding] = streams(
        context,
        order_event_processor=(9, NOON),
        real_time_metrics=(4, old),
        product_analytics=(8, old),
    )
    assert finding.id == "postgres.stream_offsets.streams.keeps_up"
    assert [row["stream"] for row in finding.rows] == ["real_time_metrics"]


def test_a_stream_that_keeps_good_messages_does_not_wait_for_bad_ones(
    context: MemoryContext,
) -> None:
    old = NOON - 30 * MINUTE
    assert streams(context, order_event_processor=(9, old), real_time_metrics=(7, old)) == []


def gaps(context: MemoryContext, orders: dict[datetime, int]) -> list[Finding]:
    context.answers[business.HOURS_SQL] = [
        {"branch_id": "B01", "hour": hour, "orders": count, "frames": 0}
        for hour, count in orders.items()
        if count
    ]
    return validate(suites_of(context, business.business_suites(context.settings), "gaps"), context)


def test_an_hour_without_anything_between_busy_ones_is_missing(context: MemoryContext) -> None:
    hours = {NOON - n * HOUR: 20 for n in range(6)}
    assert gaps(context, hours) == []
    [finding] = gaps(context, {**hours, NOON - 3 * HOUR: 0})
    assert finding.id == "postgres.order_metrics.gaps.no_gap"
    assert [(row["hour"], row["missing"]) for row in finding.rows] == [(NOON - 3 * HOUR, "orders")]


def test_hours_that_are_always_quiet_are_not_missing_and_a_long_gap_is(
    context: MemoryContext,
) -> None:
    days = {
        NOON - day * DAY + n * HOUR: 30 for day in range(9) for n in range(-4, 5) if day or n < 1
    }
    assert gaps(context, days) == []
    found = gaps(context, {**days, NOON - HOUR: 0, NOON - 2 * HOUR: 0})
    assert [row["hour"] for row in found[0].rows] == [NOON - 2 * HOUR, NOON - HOUR]


# Anomalies.


def history(days: int, seed: int = 7, **kinds: float) -> list[dict[str, Any]]:
    """Random hours with a daily and a weekly shape; the newest one has just begun."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(days * 24, -1, -1):
        hour = NOON - n * HOUR
        if 6 <= hour.hour <= 20:
            level = 40 + 30 * np.sin((hour.hour - 6) / 14 * np.pi)
            level *= 1.8 if hour.weekday() >= 5 else 1.0
            number = int(rng.poisson(level)) + 1
            row = {"branch_id": "B01", "hour": hour, "number": float(number)}
            mean = float(np.exp(rng.normal(3, 0.6, number)).mean())
            rows.append({**row, "orders": float(number), "order_value": mean})
    return rows


def figures(context: MemoryContext, rows: list[dict[str, Any]], name: str) -> list[Finding]:
    number = {"orders": 1.0}
    context.answers[anomalies.SQL[name]] = [
        {**row, "value": row[name], "number": number.get(name, row["number"])} for row in rows
    ]
    suites = [s for s in anomalies.anomaly_suites() if s.name == f"anomaly_{name}"]
    return validate(suites, context)


@pytest.mark.parametrize("seed", range(5))
def test_two_weeks_of_ordinary_days_have_no_anomaly(context: MemoryContext, seed: int) -> None:
    rows = history(14, seed)
    assert figures(context, rows, "orders") + figures(context, rows, "order_value") == []


def test_a_drift_of_the_order_value_and_a_slump_are_named_by_their_hours(
    context: MemoryContext,
) -> None:
    rows = history(14)
    for row in rows[-4:-1]:
        row["order_value"] *= 2
    rows[-6]["orders"] /= 4
    [drift] = figures(context, rows, "order_value")
    assert drift.id == "postgres.order_metrics.anomaly_order_value.usual"
    assert drift.severity == "warning"
    assert [r["hour"] for r in drift.rows] == [row["hour"] for row in rows[-4:-1]]
    [slump] = figures(context, rows, "orders")
    assert [r["hour"] for r in slump.rows] == [rows[-6]["hour"]]


def test_too_little_history_is_reported_and_not_validated(context: MemoryContext) -> None:
    rows = history(5)
    rows[-2]["orders"] = 9_000.0
    assert figures(context, rows, "orders") == []
    measure = anomalies.MEASURES[0]
    rows = list(anomalies.find_anomalies(context, measure))
    assert rows
    assert {row["not_judged"] for row in rows} <= {f"{n} of 7 earlier days known" for n in (4, 5)}


def test_the_hour_that_has_just_begun_is_not_validated(context: MemoryContext) -> None:
    rows = history(14)
    rows[-1]["orders"] = 0.0
    assert figures(context, rows, "orders") == []


def test_a_value_that_is_no_number_is_left_out(context: MemoryContext) -> None:
    rows = history(14)
    rows[-3]["order_value"] = float("nan")
    assert figures(context, rows, "order_value") == []


def test_messages_that_are_no_json_are_left_to_quarantine(context: MemoryContext) -> None:
    film(context)
    values = context.tables[BRONZE_DETECTIONS.name].to_pylist()
    broken = [json.dumps([1]).encode(), b"{", None]
    rows = [*values, *({**values[0], "position": f"{n}", "value": v} for n, v in enumerate(broken))]
    context.tables[BRONZE_DETECTIONS.name] = rows_in(BRONZE_DETECTIONS, *rows)
    assert validate(frames.frame_suites(), context) == []
