"""The streams on Delta: the same rows as on Iceberg, and each of them once, whatever fails.

The whole suite of this folder runs on Delta with `--lake-format=delta`; this is the part of it that
always runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pytest
from great_expectations import expectations as gxe

from quality.engines import Engines
from quality.run import ValidationPlan, run_quality
from quality.suite import RowSuite, expect
from streaming.lake.formats import open_lake, spark_table
from streaming.lake.tables import SILVER_ORDERS, TABLES
from streaming.recompute.orders import Restated, restate_orders
from streaming.runtime.session import build_session
from tests.stream.sandbox import Rows, Sandbox
from tests.stream.test_camera_streams import walk_over_the_line, walk_to_the_line
from tests.stream.test_order_streams import first_messages, more_messages

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("L1")]

ORDERS = ("order_event_processor", "real_time_metrics", "bronze_order_events")
FRAMES = ("bronze_detections", "silver_detections")
ALL = (*ORDERS, *FRAMES, "footfall")
APART = ("order_event_processor", "bronze_order_events", "silver_detections", "footfall")
"""In other company, and so in queries without a checkpoint; the footfall keeps its own."""

HOUR_10, HOUR_11 = (datetime(2024, 5, 1, hour, tzinfo=timezone.utc) for hour in (10, 11))
PRICES = RowSuite(
    table="silver.orders",
    sample=("position",),
    expectations=(
        expect("known", "It has no id.", gxe.ExpectColumnValuesToNotBeNull, column="order_id"),
    ),
)


def everything(sandbox: Sandbox) -> None:
    first_messages(sandbox)
    more_messages(sandbox)
    walk_to_the_line(sandbox)
    walk_over_the_line(sandbox)


def lake_of(sandbox: Sandbox) -> dict[str, Rows]:
    """Every row of the lake, without counters and times of its writes.

    A null list counts as an empty one: PyIceberg does not distinguish them (docs/FORMATS.md).
    """
    ignored = {"change_id", "revision", "updated_at"}

    def comparable(row: dict[str, Any]) -> dict[str, Any]:
        return {k: None if v == [] else v for k, v in row.items() if k not in ignored}

    return {
        table.name: sorted(map(comparable, sandbox.lake(table.name)), key=repr) for table in TABLES
    }


@dataclass
class Story:
    """The contents of the tables after each chapter."""

    sandbox: Sandbox
    lake: dict[str, dict[str, Rows]] = field(default_factory=dict)
    tables: dict[str, dict[str, Rows]] = field(default_factory=dict)
    metrics: dict[str, Rows] = field(default_factory=dict)
    restated: list[Restated] = field(default_factory=list)
    in_spark: int = 0
    validated: list[int] = field(default_factory=list)

    def remember(self, chapter: str) -> None:
        self.tables[chapter] = self.sandbox.look()
        self.metrics[chapter] = self.sandbox.query(
            "SELECT hour, order_count, total_revenue, net_revenue FROM order_metrics ORDER BY hour"
        )

    def validate(self, engines: Engines) -> None:
        """Validate, and record the number of validated rows."""
        run = run_quality(
            self.sandbox.settings,
            ValidationPlan(),
            lambda _: None,
            engines=engines,
            suites=[PRICES],
        )
        assert not run.failures
        self.validated.append(sum(r.rows or 0 for r in run.results))


@pytest.fixture(scope="module")
def story(new_sandbox: Callable[..., Sandbox]) -> Story:
    iceberg = new_sandbox("iceberg")
    everything(iceberg)
    iceberg.run(*ALL)
    in_iceberg = lake_of(iceberg)

    sandbox = new_sandbox("delta")
    recorded = Story(sandbox, lake={"iceberg": in_iceberg})
    shutil.copytree(iceberg.broker.path, sandbox.broker.path, dirs_exist_ok=True)
    sandbox.run(*ALL)
    recorded.lake["delta"] = lake_of(sandbox)
    recorded.remember("written")

    for query in (ORDERS, FRAMES, ("footfall",)):
        sandbox.lose_newest_commit(*query)
    sandbox.run(*ALL)
    recorded.remember("commits lost")

    sandbox.run(*APART)
    recorded.remember("moved")

    recorded.restated = restate_orders(sandbox.settings, HOUR_10, HOUR_11, lambda _: None)
    recorded.remember("restated")
    with closing(Engines(sandbox.settings)) as engines:
        recorded.validate(engines)
        recorded.validate(engines)
        with open_lake(sandbox.settings) as lake:
            lake.add(SILVER_ORDERS, lake.read(SILVER_ORDERS.name).slice(0, 1))
        recorded.validate(engines)
    spark = build_session(sandbox.settings, "reader")
    recorded.in_spark = spark_table(spark, sandbox.settings, SILVER_ORDERS).count()
    spark.stop()
    return recorded


@pytest.mark.parametrize("table", [t.name for t in TABLES if not t.name.startswith("quality.")])
def test_the_tables_hold_the_same_rows_in_both_formats(story: Story, table: str) -> None:
    assert story.lake["delta"][table] == story.lake["iceberg"][table]


def test_the_story_reaches_tables_of_every_kind(story: Story) -> None:
    filled = {name for name, rows in story.lake["delta"].items() if rows}
    assert filled >= {
        *("bronze.order_events", "silver.orders", "quarantine.order_events", "gold.order_hourly"),
        *("bronze.detections", "silver.detections", "quarantine.detections"),
        *("silver.line_crossings", "silver.zone_visits", "gold.footfall_minute"),
    }


@pytest.mark.parametrize(
    ("chapter", "before"),
    [("commits lost", "written"), ("moved", "commits lost")],
    ids=["commits are lost", "streams move to queries without a checkpoint"],
)
def test_no_row_of_any_table_changes_when(story: Story, chapter: str, before: str) -> None:
    assert story.tables[chapter] == story.tables[before]


@pytest.mark.requirement("L4")
def test_hours_are_restated_from_bronze_as_spark_reads_it(story: Story) -> None:
    (ten,) = story.restated
    assert (ten.orders, ten.events) == (2, 6)
    assert story.metrics["restated"] == story.metrics["moved"]


@pytest.mark.requirement("Q1")
def test_validation_takes_only_new_rows(story: Story) -> None:
    assert story.validated == [8, 0, 1]
    (reached,) = story.sandbox.lake("quality.validated_snapshots")
    assert reached["passed_snapshot_id"] == reached["snapshot_id"]


def test_spark_and_a_reader_without_it_see_the_same(story: Story) -> None:
    assert story.in_spark == len(story.sandbox.lake("silver.orders")) == 9
