"""The dozen questions over one small day: the same answers from Spark, Trino and DuckDB.

The notebooks use the same data.
"""

from __future__ import annotations

import ast
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jupytext
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from pyiceberg.table import Table as IcebergTable

from conf.settings import Settings
from conf.stores import load_stores
from infra.errors import ServiceError
from infra.local.process import wait_until
from infra.local.trino import TrinoService
from queries import ENGINES, Answer, Engine, QueryError, open_engine
from queries.as_of import as_of
from queries.ask import ask_question, find_question, questions
from queries.engine import alike
from queries.parquet import write_parquet
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.maintenance.run import maintain
from streaming.lake.tables import GOLD_QUEUE_MINUTE, TABLES
from streaming.lake.views import TAG
from tests.conftest import free_ports
from tests.stream.day import AWAY, live
from tests.stream.sandbox import Sandbox
from tests.support.clock import HandClock, commit_by

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("L2")]

TRINO_SECONDS = 180.0
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"

RunNotebook = Callable[[str], tuple[dict[str, Any], int]]


@dataclass(frozen=True)
class Lake:
    """A lake with a day of data, and the engines that read it."""

    sandbox: Sandbox
    engines: dict[str, Engine]
    missing: dict[str, str]

    def engine(self, name: str) -> Engine:
        if name in self.missing:
            pytest.skip(self.missing[name])
        return self.engines[name]

    def orders(self) -> dict[str, dict[str, Any]]:
        """Each order by its id: its newest body with its newest status, in plain Python."""
        found: dict[str, dict[str, Any]] = {}
        for row in sorted(self.sandbox.lake("silver.orders"), key=lambda row: row["version"]):
            body = row if row["created_at"] else found.get(row["order_id"], {})
            found[row["order_id"]] = {**body, "status": row["status"]}
        return {order_id: row for order_id, row in found.items() if row.get("created_at")}


@pytest.fixture(scope="module")
def lake(new_sandbox: Callable[..., Sandbox]) -> Iterator[Lake]:
    sandbox = new_sandbox("iceberg")
    (port,) = free_ports(1)
    sandbox.settings = sandbox.settings.model_copy(
        update={
            "trino": sandbox.settings.trino.model_copy(update={"port": port}),
            "catalog": sandbox.settings.catalog.model_copy(update={"views": True}),
        }
    )
    trino, missing = TrinoService(sandbox.settings), {}
    with ExitStack() as stack:
        try:
            trino.start()
            stack.callback(trino.stop)
        except ServiceError as error:
            missing["trino"] = str(error)
        live(sandbox)  # meanwhile Trino comes up
        validate(sandbox.settings)
        if not missing:
            wait_for(trino)
        engines = {
            name: stack.enter_context(closing(open_engine(sandbox.settings, name)))
            for name in ENGINES
        }
        yield Lake(sandbox, engines, missing)


def validate(settings: Settings) -> None:
    """Tag all tables, as `storelake quality run` does where nothing critical failed."""
    with closing(open_catalog(settings)) as catalog:
        for table in TABLES:
            iceberg = catalog.load_table(table.name)
            newest = iceberg.current_snapshot()
            if newest is not None:
                iceberg.manage_snapshots().create_tag(newest.snapshot_id, TAG).commit()


def wait_for(service: TrinoService) -> None:
    def over() -> bool:
        return service.ready() or service.status().state == "stopped"

    assert wait_until(over, TRINO_SECONDS)
    assert service.ready(), service.last_lines()


@pytest.fixture(params=sorted(ENGINES))
def engine(lake: Lake, request: pytest.FixtureRequest) -> Engine:
    """Each of the three."""
    return lake.engine(request.param)


@pytest.fixture
def silver_orders(lake: Lake) -> Iterator[IcebergTable]:
    with closing(open_catalog(lake.sandbox.settings)) as catalog:
        yield catalog.load_table("silver.orders")


def as_dicts(answer: Answer) -> list[dict[str, Any]]:
    return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def ask(engine: Engine, name: str) -> list[dict[str, Any]]:
    return as_dicts(ask_question(engine, find_question(name)))


def count(engine: Engine, source: str) -> int:
    ((found,),) = engine.ask(f"SELECT count(*) FROM {source}").rows  # noqa: S608
    return int(found)


@pytest.mark.parametrize("name", sorted(questions()))
def test_a_question_has_the_same_answer_on_every_engine(lake: Lake, name: str) -> None:
    first = ask_question(lake.engine("duckdb"), find_question(name))
    assert first.rows
    for other in ("spark", "trino"):
        answer = ask_question(lake.engine(other), find_question(name))
        assert answer.columns == first.columns
        assert len(answer.rows) == len(first.rows)
        for row, expected in zip(answer.rows, first.rows, strict=True):
            assert all(map(alike, row, expected)), (other, row, expected)


def test_cancellations_are_those_of_the_newest_version_of_each_order(lake: Lake) -> None:
    orders: Counter[tuple[str, str]] = Counter()
    cancelled: Counter[tuple[str, str]] = Counter()
    lost: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for order in lake.orders().values():
        key = (order["branch_id"], order["payment_method"])
        orders[key] += 1
        if order["status"] == "cancelled":
            cancelled[key] += 1
            lost[key] += order["total_price"]

    reported = ask(lake.engine("duckdb"), "cancellations")

    assert sum(cancelled.values()) > 0
    assert {(r["branch_id"], r["payment_method"]): r["orders"] for r in reported} == orders
    for row in reported:
        key = (row["branch_id"], row["payment_method"])
        assert (row["cancelled"], row["cancelled_revenue"]) == (cancelled[key], lost[key])


def test_basket_pairs_are_counted_as_by_hand(lake: Lake) -> None:
    baskets = [
        {line["product_id"] for line in order["items"]}
        for order in lake.orders().values()
        if order["status"] != "cancelled"
    ]
    single = Counter(product for basket in baskets for product in basket)
    pairs = Counter(pair for basket in baskets for pair in combinations(sorted(basket), 2))
    often = sorted(((p, n) for p, n in pairs.items() if n > 1), key=lambda x: (-x[1], x[0]))

    reported = ask(lake.engine("duckdb"), "basket_pairs")

    assert often
    assert [((r["first_id"], r["second_id"]), r["orders_together"]) for r in reported] == often[:20]
    for row in reported:
        one, other = single[row["first_id"]], single[row["second_id"]]
        assert row["lift"] == pytest.approx(
            row["orders_together"] * len(baskets) / (one * other), rel=1e-12
        )


def test_the_incidents_of_the_day_are_found(lake: Lake) -> None:
    engine = lake.engine("duckdb")
    camera, gone, how_long = AWAY
    (hole,) = ask(engine, "coverage_holes")
    assert (hole["camera_id"], hole["blind_from"]) == (camera, gone)
    assert (hole["blind_until"], hole["blind_minutes"]) == (gone + how_long, 7)

    (late,) = ask(engine, "late_data")
    assert (late["events"], late["revenue"]) == (2, Decimal("9.80"))
    assert late["hour"] == datetime(2024, 5, 1, 6, tzinfo=timezone.utc)
    assert (late["least_minutes_late"], late["most_minutes_late"]) == (1600, 1644)

    assert "O-forgotten" in {row["order_id"] for row in ask(engine, "stuck_orders")}
    assert {(r["topic"], r["rule"]): r["messages"] for r in ask(engine, "dead_letters")} == {
        ("order-created", "total_equals_items"): 3,
        ("order-created", "total_price_money"): 3,
        ("order-updated", "branch_known"): 1,
        ("order-events", "json_object"): 1,
        ("detections", "valid_utf8"): 1,
    }


def test_a_view_shows_the_clock_of_the_branch(lake: Lake, engine: Engine) -> None:
    zones = {
        b.branch_id: b.timezone for b in load_stores(lake.sandbox.settings.stores_file).branches
    }
    answer = engine.ask("SELECT branch_id, created_at, created_at_local FROM analyst.orders")
    assert {row[0] for row in answer.rows} == set(zones)
    for branch, at, local in answer.rows:
        assert local == at.astimezone(ZoneInfo(zones[branch])).replace(tzinfo=None)


def test_a_view_leaves_out_what_was_not_validated(
    lake: Lake, engine: Engine, silver_orders: IcebergTable
) -> None:
    before = count(engine, "analyst.orders"), count(engine, "silver.orders")
    row = silver_orders.scan("order_id == 'O-loyal-0'").to_arrow().to_pylist()[0]
    row |= {"order_id": f"O-unvalidated-{engine.name}", "position": engine.name}
    silver_orders.append(pa.Table.from_pylist([row], schema=silver_orders.schema().as_arrow()))
    try:
        after = count(engine, "analyst.orders"), count(engine, "silver.orders")
    finally:
        silver_orders.delete(f"position == '{engine.name}'")

    assert after == (before[0], before[1] + 1)


def test_a_query_reads_a_table_as_it_was(engine: Engine, silver_orders: IcebergTable) -> None:
    first = silver_orders.metadata.snapshots[0]
    assert first.summary is not None
    rows = int(first.summary["total-records"] or 0)
    moment = datetime.fromtimestamp(first.timestamp_ms / 1000, tz=timezone.utc)
    when = f"{moment + timedelta(milliseconds=1):%Y-%m-%d %H:%M:%S.%f} UTC"

    then = "silver.orders FOR VERSION AS OF"
    assert count(engine, f"{then} {first.snapshot_id}") == rows
    assert count(engine, f"{then} '{TAG}'") > rows
    assert count(engine, f"silver.orders FOR TIMESTAMP AS OF TIMESTAMP '{when}'") == rows


@pytest.fixture(scope="module")
def queues_of_two_days(lake: Lake) -> tuple[str, int, int]:
    """A past day, the rows of gold.queue_minute at its end, and those of the day after it.

    Maintenance has run since.
    """
    table, name = GOLD_QUEUE_MINUTE, GOLD_QUEUE_MINUTE.name
    now = datetime.now(timezone.utc)
    with pytest.MonkeyPatch.context() as patch, closing(open_catalog(lake.sandbox.settings)) as c:
        commit_by(clock := HandClock(now - timedelta(days=1)), patch)
        writer = IcebergLake(lake.sandbox.settings, c, clock=clock)
        before = writer.load(table)
        rows = before.scan().to_arrow()
        c.drop_table(name)
        c.create_table(
            name, before.schema(), partition_spec=before.spec(), properties=before.properties
        )
        row = rows.slice(0, 1).to_pylist()[0] | {"zone_id": "opened_today"}
        one_more = pa.Table.from_pylist([row], schema=rows.schema)
        writer.add(table, rows.slice(1))
        for new in (rows.slice(0, 1), one_more):
            writer.add(table, new)
            newest = writer.load(table).current_snapshot()
            assert newest is not None
            writer.tag(name, newest.snapshot_id, TAG)
            clock.now = now
        later = replace(writer, clock=lambda: now + table.policy.orphan_age)
        (done,) = maintain(later, [table], lambda _: None)
    assert done.state == "done"  # it has expired what no tag names
    return f"{now - timedelta(days=1):%Y-%m-%d}", rows.num_rows, rows.num_rows + 1


def test_yesterday_is_read_on_every_engine(
    lake: Lake, engine: Engine, queues_of_two_days: tuple[str, int, int]
) -> None:
    def rows(source: str, at: str | None = None) -> int:
        query = f"SELECT count(*) FROM {source}"  # noqa: S608
        if at is not None:
            query = as_of(lake.sandbox.settings, engine.name, query, at)
        ((found,),) = engine.ask(query).rows
        return int(found)

    day, yesterday, today = queues_of_two_days
    for source in ("gold.queue_minute", "analyst.queue_minute"):
        assert rows(source) == today
        assert rows(source, day) == yesterday


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT * FROM silver.nowhere", r"The lake has no table silver\.nowhere: in silver there"),
        (
            "SELECT * FROM silver.orders FOR VERSION AS OF 1234567890123456789",
            r"silver\.orders has no snapshot 1234567890123456789: it may have expired",
        ),
        (
            "SELECT * FROM silver.orders FOR VERSION AS OF 'spring'",
            r"silver\.orders has no tag or branch 'spring'; there are: main, validated\.",
        ),
        (
            "SELECT * FROM silver.orders FOR TIMESTAMP AS OF TIMESTAMP '2020-01-01 00:00:00 UTC'",
            r"silver\.orders has no snapshot at 2020-01-01 00:00:00 UTC: it may have expired",
        ),
        (
            "SELECT * FROM orders",
            r"The lake has no table orders: did you mean analyst\.orders or si",
        ),
        ("SELECT nothing FROM silver.orders", r"(Spark|Trino|DuckDB) refuses the query: .*nothing"),
        ("SELECT FROM WHERE", r"(Spark|Trino|DuckDB) refuses the query: "),
        ("DELETE FROM silver.orders", r"DELETE is no query"),
    ],
)
def test_a_query_that_cannot_be_answered_gets_one_sentence(
    engine: Engine, query: str, reason: str
) -> None:
    with pytest.raises(QueryError) as refused:
        engine.ask(query)
    assert re.match(reason, str(refused.value))
    assert "\n" not in str(refused.value)


def test_every_engine_lists_tables_and_describes_them(engine: Engine) -> None:
    assert ("gold", "store_hourly", "BASE TABLE") in engine.ask("SHOW TABLES FROM gold").rows
    assert ("analyst", "orders", "VIEW") in engine.ask("SHOW TABLES").rows
    for name, column in (("silver.orders", "total_price"), ("analyst.orders", "created_at_local")):
        for statement in ("DESCRIBE", "SHOW COLUMNS FROM"):
            assert column in {row[0] for row in engine.ask(f"{statement} {name}").rows}


def test_the_information_schema_has_columns_where_the_engine_has_one(engine: Engine) -> None:
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = 'queue_minute'"
    if engine.name == "spark":
        with pytest.raises(QueryError, match="Spark has no information_schema"):
            engine.ask(query)
    else:
        assert ("wait_p95",) in engine.ask(query).rows


def test_a_parquet_file_has_the_same_types_and_rows_from_every_engine(
    lake: Lake, engine: Engine, tmp_path: Path
) -> None:
    def written(by: Engine) -> pa.Table:
        file = tmp_path / f"{by.name}.parquet"
        with by.stream(
            "SELECT order_id, version, total_price, created_at, items FROM silver.orders "
            "ORDER BY order_id, version, created_at"
        ) as stream:
            write_parquet(stream, by.name, file)
        return pq.read_table(file)

    mine, expected = written(engine), written(lake.engine("duckdb"))
    assert mine.schema.equals(expected.schema), (mine.schema, expected.schema)
    assert mine.to_pylist() == expected.to_pylist()


def test_a_view_of_what_was_never_validated_reports_what_to_do(lake: Lake, engine: Engine) -> None:
    with closing(open_catalog(lake.sandbox.settings)) as catalog:
        table = catalog.load_table("gold.product_daily")
        snapshot = table.metadata.refs[TAG].snapshot_id
        table.manage_snapshots().remove_tag(TAG).commit()
        try:
            with pytest.raises(QueryError, match=r"Nothing of gold\.product_daily has been"):
                engine.ask("SELECT * FROM analyst.product_daily")
        finally:
            table.manage_snapshots().create_tag(snapshot, TAG).commit()


@pytest.fixture(scope="module")
def run_notebook(lake: Lake) -> Iterator[RunNotebook]:
    """Executes a notebook: the figures of its last cell, and how many plots it made.

    One kernel serves all: starting it takes longer than the cells do.
    """
    place = {"metadata": {"path": str(NOTEBOOKS)}}
    host = NotebookClient(new_notebook(), kernel_name="python3", resources=place)

    def run(name: str) -> tuple[dict[str, Any], int]:
        book = jupytext.read(NOTEBOOKS / f"{name}.py")
        book.cells.insert(0, new_code_cell("%reset -f"))
        NotebookClient(book, km=host.km, timeout=240, resources=place).execute()
        outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
        plots = sum("image/png" in output.get("data", {}) for output in outputs)
        return ast.literal_eval(outputs[-1]["data"]["text/plain"]), plots

    with host.setup_kernel(env=environment_of(lake.sandbox.settings)):
        yield run


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment of a process for a deployment."""
    variables = {
        "PROFILE": "test",
        "VAR_DIR": settings.var_dir,
        "POSTGRES__PORT": settings.postgres.port,
        "POSTGRES__READER_PASSWORD": settings.acting_as("reader").postgres.secret,
        "CATALOG__NAME": settings.catalog.name,
        "CATALOG__WAREHOUSE": settings.warehouse,
    }
    if settings.bucket:
        variables |= {
            "S3__PORT": settings.s3.port,
            "S3__ACCESS_KEY": settings.s3.access,
            "S3__SECRET_KEY": settings.s3.secret,
        }
    kept = {key: value for key, value in os.environ.items() if not key.startswith("STORELAKE_")}
    own = {f"STORELAKE_{name}": str(value) for name, value in variables.items()}
    return {**kept, **own, "PYTHONPATH": str(NOTEBOOKS.parent)}


def test_the_notebook_on_footfall_counts_everybody_who_came_in(
    lake: Lake, run_notebook: RunNotebook
) -> None:
    reported, plots = run_notebook("footfall_and_conversion")

    entered = sum(row["entries"] for row in lake.sandbox.lake("gold.footfall_minute"))
    assert reported["entries"] == entered >= reported["visitors"] > 0
    assert 0 < reported["orders"] < reported["visitors"]
    assert plots == 2


def test_the_notebook_on_orders_counts_each_order_once(
    lake: Lake, run_notebook: RunNotebook
) -> None:
    reported, plots = run_notebook("order_flow")

    orders = lake.orders()
    cancelled = [o for o in orders.values() if o["status"] == "cancelled"]
    assert (reported["orders"], reported["cancelled"]) == (len(orders), len(cancelled))
    assert "O-forgotten" in reported["stuck"]
    assert plots == 2


@pytest.mark.parametrize("name", ["visitor_forecast", "staffing"])
def test_a_forecast_from_one_day_reports_how_many_it_needs(
    name: str, run_notebook: RunNotebook
) -> None:
    reported, plots = run_notebook(name)

    assert reported["too_little"]
    assert all("needs 14 days" in reason for reason in reported["too_little"].values())
    assert plots == 1


def test_the_notebook_on_quality_balances(lake: Lake, run_notebook: RunNotebook) -> None:
    reported, plots = run_notebook("data_quality")

    assert reported["received"] == reported["good_and_refused"] > 0
    assert (reported["late"], reported["failures"]) == (2, 9)
    assert plots == 1


def test_the_notebook_on_the_lake_reads_every_snapshot(
    lake: Lake, run_notebook: RunNotebook
) -> None:
    reported, plots = run_notebook("lake_internals")

    assert len(reported["rows"]) == reported["snapshots"] > 1
    assert (
        reported["rows"][-1]
        == reported["records_in_files"]
        == len(lake.sandbox.lake("silver.orders"))
    )
    assert reported["rows"][0] < reported["validated"] <= max(reported["rows"])
    assert plots == 2
