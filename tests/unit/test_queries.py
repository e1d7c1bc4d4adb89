"""Questions, views and what a query refers to, without an engine that needs a server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlglot
from typer.testing import CliRunner

from cli.main import app
from conf.errors import StorelakeError
from conf.settings import Settings
from conf.stores import Stores
from queries import ENGINES, Answer, Engine, QueryError, open_engine
from queries.ask import find_question, questions
from queries.engine import RowStream
from queries.formats import distinct, short, write_csv, write_json
from queries.references import Version, bare_names, parse_reading, references
from queries.spark_engine import for_questions
from queries.trino_engine import _without_semicolons
from streaming.lake.dialects import DIALECT, in_dialect
from streaming.lake.tables import TABLES
from streaming.lake.views import views
from tests.support.small_lake import lake_for_queries

pytestmark = pytest.mark.requirement("L2")

ASKED = {
    *("conversion_by_hour", "queue_and_lost_sales", "dwell_and_sales", "lead_times"),
    *("stuck_orders", "cancellations", "returning_customers", "basket_pairs"),
    *("busiest_camera_hours", "coverage_holes", "late_data", "dead_letters"),
    "capture_rate",
}
MIDNIGHT = datetime(2024, 5, 1, tzinfo=timezone.utc)


def refers(sql: str, dialect: str = "duckdb") -> dict[str, Version | None]:
    query = parse_reading(sql, dialect)
    assert query is not None
    return {reference.table: reference.version for reference in references(query)}


def test_the_questions_are_there_each_with_a_question_and_a_reading() -> None:
    assert set(questions()) == ASKED
    for question in questions().values():
        assert question.question.endswith("?")
        assert question.reading.endswith(".")
        assert "ORDER BY" in question.sql, "rows come in the same order from every engine"


@pytest.mark.parametrize("name", sorted(ASKED))
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_question_can_be_written_in_the_sql_of_every_engine(
    name: str, engine: str, stores: Stores
) -> None:
    text = find_question(name).for_engine(engine)
    known = {table.name for table in TABLES} | {view.full_name for view in views(stores)}
    assert refers(text, engine)
    assert refers(text, engine).keys() <= known


def test_every_view_reads_what_was_validated(stores: Stores) -> None:
    made = {view.full_name: view for view in views(stores)}
    for view in made.values():
        for table, version in refers(view.sql, DIALECT).items():
            assert version == "validated" or table in made
    silver_and_gold = [t for t in TABLES if t.name.startswith(("silver.", "gold."))]
    assert len(made) == len(silver_and_gold) + 1, "each table has one, and orders have lines"


def test_local_time_has_no_time_zone_on_any_engine(stores: Stores) -> None:
    (visits,) = (view for view in views(stores) if view.name == "zone_visits")
    query = sqlglot.parse_one(visits.sql, read=DIALECT)
    spark = in_dialect(query, "spark")
    assert "CAST(FROM_UTC_TIMESTAMP(entered_at, 'Asia/Kolkata') AS TIMESTAMP_NTZ)" in spark
    assert "AT TIME ZONE 'Asia/Kolkata' AS TIMESTAMP" in in_dialect(query, "duckdb")


def test_rows_that_a_restatement_took_back_are_in_no_view(stores: Stores) -> None:
    withdrawn = {t.name.partition(".")[2] for t in TABLES if "withdrawn boolean" in t.columns}
    assert withdrawn
    for view in views(stores):
        assert ("NOT withdrawn" in view.sql) == (view.name in withdrawn)


@pytest.mark.parametrize(
    ("version", "meant"),
    [
        ("FOR VERSION AS OF 4135427812370461250", 4135427812370461250),
        ("FOR VERSION AS OF 'validated'", "validated"),
        ("FOR TIMESTAMP AS OF TIMESTAMP '2024-05-01 00:00:00 UTC'", MIDNIGHT),
        ("FOR TIMESTAMP AS OF TIMESTAMP '2024-05-01 00:00:00'", MIDNIGHT),
        ("", None),
    ],
)
@pytest.mark.parametrize("dialect", sorted(ENGINES))
def test_a_version_is_understood_in_the_syntax_of_every_engine(
    dialect: str, version: str, meant: Version | None
) -> None:
    sql = f"WITH x AS (SELECT 1) SELECT * FROM silver.orders {version} AS o CROSS JOIN x"  # noqa: S608
    assert refers(sql, dialect) == {"silver.orders": meant}


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("", "There is no query"),
        (" ; ", "There is no query"),
        ("DROP TABLE silver.orders", "DROP is no query"),
        ("CALL system.expire_snapshots('silver.orders')", "CALL is no query"),
        ("WITH x AS (SELECT 1) INSERT INTO silver.orders SELECT * FROM x", "no query"),
        ("FROM x INSERT INTO silver.orders SELECT *", "cannot be parsed|is no query"),
        ("WITH x AS (SELECT", "cannot be parsed"),
        ("SELECT 1; DELETE FROM silver.orders", "2 statements"),
        ("SELECT * FROM silver.orders FOR TIMESTAMP AS OF 'spring'", "'spring' is no time like"),
        (
            "SELECT * FROM silver.orders FOR TIMESTAMP AS OF DATE '2030-05-01' - INTERVAL '9' DAY",
            "silver.orders: give the version as a number or a text",
        ),
    ],
)
def test_what_is_no_query_is_refused_before_an_engine_sees_it(sql: str, reason: str) -> None:
    with pytest.raises(QueryError, match=reason):
        refers(sql, "spark")


@pytest.mark.parametrize("sql", ["SHOW TABLES", "EXPLAIN SELECT 1", "DESCRIBE silver.orders"])
@pytest.mark.parametrize("dialect", sorted(ENGINES))
def test_statements_that_only_read_are_allowed(sql: str, dialect: str) -> None:
    parse_reading(sql, dialect)


@pytest.mark.parametrize("sql", ["SELECT 1; -- done", "-- one\nEXPLAIN SELECT 1;;\n/* end */"])
@pytest.mark.parametrize("dialect", sorted(ENGINES))
def test_comments_and_semicolons_are_no_statements(sql: str, dialect: str) -> None:
    parse_reading(sql, dialect)


@pytest.mark.parametrize("sql", ["SELECT ';--' AS s", "EXPLAIN SELECT 1", "SELECT 'open"])
def test_trino_gets_no_semicolon(sql: str) -> None:
    assert _without_semicolons(sql) == sql
    if "open" not in sql:
        assert _without_semicolons(f"{sql} ; -- done\n/* ; */;") == sql


def test_a_name_that_a_query_defines_is_no_table_in_either_case() -> None:
    query = parse_reading("WITH Recent AS (SELECT 1) SELECT * FROM recent, orders", "duckdb")
    assert query is not None
    assert bare_names(query) == ["orders"]


def test_the_error_of_an_engine_that_does_not_run_names_how_to_start_it(settings: Settings) -> None:
    with pytest.raises(QueryError, match=r"Trino does not answer at .*`storelake up --trino`"):
        open_engine(settings, "trino").ask("SELECT 1")


@pytest.fixture
def duckdb_on_empty_lake(
    settings: Settings, stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """DuckDB over a lake in which nothing was written and nothing validated."""
    with lake_for_queries(tmp_path, stores, monkeypatch):
        yield open_engine(settings, "duckdb")


def test_the_tables_of_the_lake_can_be_listed(duckdb_on_empty_lake: Engine) -> None:
    listed = duckdb_on_empty_lake.ask("SHOW TABLES").rows
    assert ("silver", "orders", "BASE TABLE") in listed
    assert ("analyst", "orders", "VIEW") in listed
    of_gold = duckdb_on_empty_lake.ask("show tables from gold;").rows
    assert of_gold == tuple(row for row in listed if row[0] == "gold")
    assert duckdb_on_empty_lake.ask("-- of money\nSHOW TABLES FROM GOLD -- all").rows == of_gold
    assert duckdb_on_empty_lake.ask("show tables;;").rows == listed
    with pytest.raises(QueryError, match=r"no namespace golt: there are analyst, bronze, .*gold"):
        duckdb_on_empty_lake.ask("SHOW TABLES FROM golt")
    assert set(listed) == set(
        duckdb_on_empty_lake.ask(
            "SELECT table_schema, table_name, table_type FROM information_schema.tables"
        ).rows
    )


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE silver.orders",
        "DESC storelake.silver.orders",
        "SHOW COLUMNS FROM silver.orders",
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'orders'",
    ],
)
def test_the_columns_of_a_table_can_be_listed(duckdb_on_empty_lake: Engine, sql: str) -> None:
    listed = {row[0]: row[1] for row in duckdb_on_empty_lake.ask(sql).rows}
    assert listed["order_id"] == "VARCHAR"
    assert listed["total_price"].startswith("DECIMAL(")
    assert listed["created_at"] == "TIMESTAMP WITH TIME ZONE"


def test_a_view_is_described_before_anything_was_validated(duckdb_on_empty_lake: Engine) -> None:
    described = duckdb_on_empty_lake.ask("DESCRIBE analyst.orders").rows
    assert "created_at_local" in {row[0] for row in described}


def test_a_plan_reads_the_tables_of_its_query(duckdb_on_empty_lake: Engine) -> None:
    assert duckdb_on_empty_lake.ask("EXPLAIN SELECT count(*) FROM silver.orders").rows


@pytest.mark.parametrize(
    "sql",
    [
        "SUMMARIZE silver.orders",
        "PIVOT silver.orders ON (currency IN ('EUR')) USING count(*)",
        "UNPIVOT silver.orders ON order_id, branch_id INTO NAME name VALUE value",
    ],
)
def test_statements_of_duckdb_that_only_read_are_answered(
    duckdb_on_empty_lake: Engine, sql: str
) -> None:
    assert duckdb_on_empty_lake.ask(sql).columns


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        (
            "SELECT * FROM analyst.orders FOR VERSION AS OF 'day-2024-05-01'",
            "analyst.orders is a view, which has no versions: ask as of a moment with --at, or",
        ),
        ("SELECT * FROM orders", "no table orders: did you mean analyst.orders or silver.orders"),
        ("SELECT * FROM silvr.orders", "no table silvr.orders: did you mean analyst.orders or si"),
        ("SELECT ordr_id FROM silver.orders", 'not found in FROM clause! Candidate bindings: "o'),
        ("SELECT summ(1)", 'name summ does not exist! Did you mean "sum"'),
        ("DESCRIBE silver.ordr", "no table silver.ordr: in silver there are"),
        ("SELECT 1 FROM silver.orders WHERE price > 'x'::int", "Candidate bindings|Could not"),
    ],
)
def test_an_error_keeps_the_suggestion_in_one_sentence(
    duckdb_on_empty_lake: Engine, sql: str, reason: str
) -> None:
    with pytest.raises(QueryError, match=reason) as refused:
        duckdb_on_empty_lake.ask(sql)
    assert "\n" not in str(refused.value)
    assert "LINE" not in str(refused.value)


def test_a_parquet_file_has_the_types_and_digits_of_the_answer(tmp_path: Path) -> None:
    file, query = tmp_path / "answer.parquet", (
        "SELECT 2.50::decimal(9, 2) AS price, TIMESTAMPTZ '2024-05-01 02:00:00+02' AS at, "
        "[{'id': 7}] AS items, map {'a': 1} AS tags, sum(1) AS n"
    )  # fmt: skip
    arguments = ["sql", query, "--format", "parquet"]
    assert CliRunner().invoke(app, arguments).exit_code == 2, "it is no text"
    assert CliRunner().invoke(app, [*arguments, "--out", str(file)]).exit_code == 0
    assert pq.read_table(file).to_pylist() == [
        {
            "price": Decimal("2.50"),
            "at": MIDNIGHT,
            "items": [{"id": 7}],
            "tags": '{"a": 1}',
            "n": Decimal(1),
        }
    ]
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("['10:00'::time]", '["10:00:00"]'),
        ("[interval 1 day]", '["1 day, 0:00:00"]'),
        ("{'n': 1::ubigint}", '{"n": 1}'),
        ("[{'id': '5d10e0c4-0000-4000-8000-000000000001'::uuid}]", None),
        ("row(1, 'a')", '[1, "a"]'),
    ],
)
def test_a_type_that_parquet_has_not_makes_its_whole_column_text(
    tmp_path: Path, value: str, text: str | None
) -> None:
    file = tmp_path / "answer.parquet"
    arguments = ["sql", f"SELECT {value} AS v", "--format", "parquet", "--out", str(file)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    text = text or '[{"id": "5d10e0c4-0000-4000-8000-000000000001"}]'
    assert pq.read_table(file).to_pylist() == [{"v": text}]


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("folder", [".", "/"])
def test_an_answer_is_not_written_over_a_folder(folder: str, form: str) -> None:
    arguments = ["sql", "SELECT 1", "--format", form, "--out", folder]
    refused = CliRunner().invoke(app, arguments).exception
    assert isinstance(refused, StorelakeError)
    assert f"{folder} is a folder" in str(refused)


def test_a_table_of_a_large_answer_is_its_beginning_and_names_the_rest() -> None:
    result = CliRunner().invoke(app, ["sql", "SELECT * FROM range(1500)"])
    assert result.stdout.splitlines()[-1].strip() == "999"
    assert "the first 1,000 rows" in result.stderr


def test_duckdb_answers_what_needs_no_lake_without_one(settings: Settings) -> None:
    answer = open_engine(settings, "duckdb").ask("SELECT 1 AS one, [1, 2] AS few, {'a': 1} AS s;")
    assert answer == Answer(("one", "few", "s"), ((1, [1, 2], {"a": 1}),))


def test_a_session_for_questions_is_made_for_large_joins_and_keeps_what_the_operator_set(
    settings: Settings,
) -> None:
    spark = settings.spark.model_copy(update={"extra": {"spark.sql.shuffle.partitions": "8"}})
    asked = for_questions(settings.model_copy(update={"spark": spark})).spark
    assert asked.extra["spark.sql.shuffle.partitions"] == "8"
    assert asked.extra["spark.sql.adaptive.enabled"] == "true"
    assert "TieredStopAtLevel" in settings.spark.driver_java_options
    assert "TieredStopAtLevel" not in asked.driver_java_options


def rows(*values: object) -> list[tuple[Any, ...]]:
    return list(RowStream.of(("a",), ("VARCHAR",), [(value,) for value in values]).rows)


def test_an_instant_is_in_utc_and_local_time_is_unchanged() -> None:
    there = datetime(2024, 5, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    wall = datetime(2024, 5, 1, 2)  # noqa: DTZ001
    assert rows(there, wall) == [(MIDNIGHT,), (wall,)]
    assert rows(there)[0][0].tzinfo is timezone.utc


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (0.123456, "0.1235"),
        (3.0, "3"),
        (Decimal("2.50"), "2.50"),
        (MIDNIGHT, "2024-05-01 00:00:00Z"),
        (date(2024, 5, 1), "2024-05-01"),
        ([{"price": Decimal("1.10")}], '[{"price": "1.10"}]'),
        (b"{}", "{}"),
        ({date(2024, 5, 1): [float("inf")]}, '{"2024-05-01": ["inf"]}'),
    ],
)
def test_a_table_shows_values_for_people(value: object, shown: str) -> None:
    assert short(value) == shown


def test_csv_and_json_keep_money_to_the_cent_and_times_exact(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = (Decimal("2.50"), MIDNIGHT, None, float("nan"))

    def answer() -> RowStream:
        return RowStream.of(("price", "at", "note", "price"), ("VARCHAR",) * 4, [row])

    write_csv(answer(), sys.stdout)
    assert capsys.readouterr().out == "price,at,note,price\n2.50,2024-05-01T00:00:00Z,,nan\n"
    write_json(answer(), sys.stdout)
    assert json.loads(capsys.readouterr().out) == [
        {"price": "2.50", "at": "2024-05-01T00:00:00Z", "note": None, "price_2": "nan"}
    ]


def test_json_has_text_for_keys_that_are_dates_and_for_floats_that_are_not_finite(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = ({date(2024, 5, 1): 2}, [float("nan"), {"x": float("-inf")}])
    write_json(RowStream.of(("days", "floats"), ("MAP", "LIST"), [row]), sys.stdout)
    assert json.loads(capsys.readouterr().out) == [
        {"days": {"2024-05-01": 2}, "floats": ["nan", {"x": "-inf"}]}
    ]


def test_a_column_gets_no_name_that_another_one_has() -> None:
    assert distinct(("a", "a", "a_2", "a")) == ["a", "a_3", "a_2", "a_4"]


def test_the_command_takes_a_query_a_file_or_standard_input(tmp_path: object) -> None:
    run = CliRunner()
    assert run.invoke(app, ["sql", "SELECT 7 AS n", "--format", "csv"]).output == "n\n7\n"
    assert run.invoke(app, ["sql", "-", "--format", "csv"], input="SELECT 8 AS n").output == (
        "n\n8\n"
    )
    refused = run.invoke(app, ["sql", "-"], input=b"SELECT '\xff'").exception
    assert isinstance(refused, StorelakeError)
    assert "standard input cannot be read as text" in str(refused)
    assert run.invoke(app, ["sql"]).exit_code == 2
    assert run.invoke(app, ["sql", "SELECT 1", "--file", "x.sql"]).exit_code == 2


def test_the_questions_are_listed_and_shown_without_a_lake() -> None:
    run = CliRunner()
    assert "coverage_holes" in run.invoke(app, ["ask"]).output
    shown = run.invoke(app, ["ask", "late_data", "--show", "--engine", "spark"]).output
    assert "DATEDIFF(MINUTE" in shown
    refused = run.invoke(app, ["ask", "nothing"])
    assert isinstance(refused.exception, QueryError)
