"""Validation beside the streams: what is validated, what is held back, what a fault spares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import great_expectations.expectations as gxe
import pyarrow as pa
import pytest
from pyiceberg.table import Table as IcebergTable

from quality.context import AuditContext
from quality.engines import Engines
from quality.publish import BranchPublishError, begin_branch, publish_branch
from quality.run import QualityRun, ValidationPlan, run_quality
from quality.store import QualityError
from quality.suite import FactSuite, RowSuite, Suite, expect
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.tables import QUALITY_VALIDATED_SNAPSHOTS, QUALITY_VALIDATION_RESULTS
from tests.stream.sandbox import Sandbox
from tests.support.builders import order_event

pytestmark = [pytest.mark.timeout(600), pytest.mark.requirement("Q1")]

PRICES = RowSuite(
    table="silver.orders",
    sample=("topic", "partition", "position"),
    expectations=(
        expect(
            "total_price_money",
            "A price is not positive.",
            gxe.ExpectColumnValuesToBeBetween,
            column="total_price",
            min_value=0,
            strict_min=True,
        ),
    ),
)


def _counts(context: AuditContext) -> Iterator[dict[str, Any]]:
    (row,) = context.query("SELECT count(*) AS served FROM orders_processed")
    yield {"kept": context.scan("silver.orders", ("order_id",)).num_rows, **row}


SERVED = FactSuite(
    table="postgres.orders_processed",
    name="counts",
    columns=dict.fromkeys(("kept", "served"), pa.int64()),
    rows=_counts,
    unit="counts",
    expectations=(
        expect(
            "served_as_kept",
            "The database and the lake hold different numbers of orders.",
            gxe.ExpectColumnPairValuesToBeEqual,
            column_A="kept",
            column_B="served",
        ),
    ),
)


@pytest.fixture(scope="module")
def shop(sandbox: Sandbox) -> Sandbox:
    """Three orders sold."""
    sandbox.send_order(*(order_event(order_id=f"O-{n}") for n in range(3)))
    sandbox.run("order_event_processor")
    return sandbox


@pytest.fixture(scope="module")
def engines(sandbox: Sandbox) -> Iterator[Engines]:
    with closing(Engines(sandbox.settings)) as made:
        yield made


@pytest.fixture
def validate(shop: Sandbox, engines: Engines) -> Any:
    def run(*suites: Suite, plan: ValidationPlan = ValidationPlan()) -> QualityRun:  # noqa: B008 (frozen)
        return run_quality(
            shop.settings.acting_as("quality"),
            plan,
            lambda _: None,
            engines=engines,
            suites=suites or (PRICES, SERVED),
        )

    return run


@pytest.fixture
def silver(shop: Sandbox) -> Iterator[IcebergTable]:
    if shop.settings.catalog.format != "iceberg":
        pytest.skip("it damages, tags and branches the table as only Iceberg can")
    with closing(open_catalog(shop.settings)) as catalog:
        yield catalog.load_table("silver.orders")


def append_row(table: IcebergTable, **changes: Any) -> None:
    """A row that no stream has validated."""
    table.refresh()
    row = table.scan("order_id == 'O-1'").to_arrow().to_pylist()[0] | {"order_id": "X"} | changes
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))


def tagged(table: IcebergTable) -> int | None:
    table.refresh()
    tag = table.metadata.refs.get("validated")
    return tag.snapshot_id if tag else None


def newest(table: IcebergTable) -> int:
    table.refresh()
    return table.metadata.snapshots[-1].snapshot_id


def states(run: QualityRun) -> dict[str, str]:
    return {result.id: result.state for result in run.results}


PRICE = "silver.orders.rows.total_price_money"
COUNT = "postgres.orders_processed.counts.served_as_kept"


def test_what_the_streams_have_written_passes_and_is_tagged(
    shop: Sandbox, validate: Any, silver: IcebergTable
) -> None:
    run = validate()
    assert states(run) == {PRICE: "passed", COUNT: "passed"}
    assert tagged(silver) == newest(silver)
    (reached,) = (r for r in shop.lake(QUALITY_VALIDATED_SNAPSHOTS.name))
    assert reached["table_name"] == "silver.orders"
    assert reached["passed_snapshot_id"] == reached["snapshot_id"] == newest(silver)


def test_what_was_validated_is_not_validated_again(validate: Any) -> None:
    validate()
    assert states(validate()) == {COUNT: "passed"}


def test_results_are_in_the_lake_and_the_same_in_postgres(shop: Sandbox, validate: Any) -> None:
    run = validate(plan=ValidationPlan(since=datetime(2000, 1, 1, tzinfo=timezone.utc)))
    of_run = [r for r in shop.lake(QUALITY_VALIDATION_RESULTS.name) if r["run_id"] == run.id]
    served = shop.query("SELECT * FROM quality_results WHERE run_id = %s", run.id)
    assert {r["expectation"] for r in of_run} == {"total_price_money", "served_as_kept"}
    for row in of_run:
        row["samples"] = json.loads(row["samples"])
    assert sorted(of_run, key=lambda r: r["suite"]) == sorted(served, key=lambda r: r["suite"])


def test_a_bad_row_that_no_stream_wrote_is_named_until_it_is_gone(
    validate: Any, silver: IcebergTable
) -> None:
    good = newest(silver)
    append_row(silver, total_price=Decimal("-1.00"), position="unvalidated")
    first = validate(PRICES)
    assert states(first) == {PRICE: "failed"}
    assert json.loads(first.results[0].samples) == [
        {"topic": "order-created", "partition": 0, "position": "unvalidated"}
    ]
    assert tagged(silver) == good, "readers of validated data do not see it"

    append_row(silver, position="another")
    again = validate(PRICES)
    assert states(again) == {PRICE: "failed"}, "the next commit does not hide it"
    assert again.results[0].rows == 2
    assert tagged(silver) == good

    silver.refresh()
    silver.delete("position == 'unvalidated'")
    assert states(validate(PRICES)) == {PRICE: "passed"}
    assert tagged(silver) == newest(silver)


def test_a_warning_is_reported_and_holds_nothing_back(validate: Any, silver: IcebergTable) -> None:
    dear = expect(
        "dear",
        "Orders are cheap.",
        gxe.ExpectColumnValuesToBeBetween,
        "warning",
        column="total_price",
        min_value=10**6,
    )
    append_row(silver, position="cheap")
    run = validate(replace(PRICES, expectations=(dear,)))
    assert [(r.severity, r.state) for r in run.results] == [("warning", "failed")]
    assert tagged(silver) == newest(silver)


def test_spark_finds_what_pandas_finds(validate: Any) -> None:
    def lines(rows: pa.Table) -> pa.Table:
        return rows.select(("topic", "partition", "position", "total_price"))

    picky = replace(
        PRICES,
        shape=lines,
        expectations=(
            expect(
                "dear",
                "Orders are cheap.",
                gxe.ExpectColumnValuesToBeBetween,
                "warning",
                column="total_price",
                min_value=10**6,
            ),
        ),
    )
    since = datetime(2000, 1, 1, tzinfo=timezone.utc)
    (pandas,), (spark,) = (
        validate(picky, plan=ValidationPlan(since=since, engine=engine)).results
        for engine in ("pandas", "spark")
    )
    in_order = [
        replace(one, samples=str(sorted(json.loads(one.samples), key=str)))
        for one in (pandas, spark)
    ]
    assert in_order[0] == in_order[1]


def test_a_table_that_vanished_is_named_and_the_run_continues(validate: Any) -> None:
    run = validate(replace(PRICES, table="silver.nowhere"), SERVED)
    assert states(run) == {"silver.nowhere.rows.exists": "unreadable"} | {COUNT: states(run)[COUNT]}


def test_facts_that_cannot_be_loaded_are_named_and_the_run_continues(validate: Any) -> None:
    def load(context: AuditContext) -> list[dict[str, Any]]:
        return context.query("SELECT * FROM nowhere")

    run = validate(replace(SERVED, rows=load), PRICES)
    (broken,) = run.failures
    assert broken.id == "postgres.orders_processed.counts.readable"
    assert "nowhere" in str(broken.observed)


def test_a_snapshot_that_is_not_there_and_a_table_without_suites_are_one_sentence(
    validate: Any,
) -> None:
    with pytest.raises(
        QualityError, match=r"silver\.orders has no snapshot 987654321; it may have expired"
    ):
        validate(PRICES, plan=ValidationPlan(table="silver.orders", since=987654321))
    with pytest.raises(QualityError, match=r"no suite for gold\.nothing"):
        validate(PRICES, plan=ValidationPlan(table="gold.nothing"))


def test_the_tag_outlives_the_snapshots_around_it(
    shop: Sandbox, validate: Any, silver: IcebergTable
) -> None:
    validate(PRICES)
    held = tagged(silver)
    append_row(silver, total_price=Decimal("-2.00"), position="held")
    later = datetime.now(timezone.utc) + timedelta(minutes=1)
    silver.maintenance.expire_snapshots().older_than(later).commit()
    validate(PRICES)
    assert tagged(silver) == held
    before = silver.scan(snapshot_id=held).to_arrow()
    assert "held" not in before["position"].to_pylist()
    silver.refresh()
    silver.delete("position == 'held'")


def test_a_branch_is_published_when_its_rows_pass_and_kept_when_they_do_not(
    shop: Sandbox, engines: Engines, silver: IcebergTable
) -> None:
    def write(price: str, position: str) -> None:
        row = silver.scan("order_id == 'O-1'").to_arrow().to_pylist()[0]
        lines = [line | {"quantity": 1, "unit_price": Decimal(price)} for line in row["items"][:1]]
        row |= {"total_price": Decimal(price), "items": lines, "item_count": 1}
        row |= {"position": position, "order_id": position}
        silver.append(
            pa.Table.from_pylist([row], schema=silver.schema().as_arrow()), branch="repair"
        )

    def there() -> list[str]:
        return [row["position"] for row in shop.lake("silver.orders")]

    begin_branch(shop.settings, "silver.orders", "repair")
    silver.refresh()
    write("-1.00", "bad")
    held = publish_branch(shop.settings, "silver.orders", "repair", engines)
    assert held.rows is None
    assert {r.name for r in held.results if not r.success} >= {"total_price_money"}

    silver.refresh()
    silver.delete("position == 'bad'", branch="repair")
    write("2.00", "mended")
    done = publish_branch(shop.settings, "silver.orders", "repair", engines)
    assert done.rows == 1
    assert "mended" in there()
    assert "bad" not in there()
    with pytest.raises(BranchPublishError, match=r"no table silver\.nothing"):
        begin_branch(shop.settings, "silver.nothing", "repair")
