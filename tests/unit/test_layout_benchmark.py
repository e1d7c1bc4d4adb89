"""The chain that layouts are measured on: its rows, its two layouts, and what counts as equal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake.schema import Schema
from pyiceberg.catalog import Catalog

from benchmarks.board import Board
from benchmarks.candidates import make_table
from benchmarks.chain import Plan, chain_stores, slices_of_rows
from benchmarks.chain.cameras import CameraDesk
from benchmarks.chain.house import LAYOUTS, Layout, held, join_all, name_layout, show, write_raw
from benchmarks.layout import ask_all, tables_of
from benchmarks.trials import TRIALS
from conf.settings import Settings, load_settings
from conf.stores import Stores, load_stores
from queries import Answer, Engine, open_engine
from queries.ask import questions
from streaming.lake.delta.tables import _struct
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.tables import QUALITY_MAINTENANCE_RUNS, TABLES, Table
from tests.support.small_lake import open_lake

pytestmark = pytest.mark.requirement("L3")

PLAN = Plan(orders=8000, detections=12_000, days=2, branches=3, commits=9)
TINY = Plan(orders=1000, detections=1000, days=2, branches=2, commits=2)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    stores = tmp_path_factory.mktemp("chain") / "stores.toml"
    stores.write_text(chain_stores(PLAN.branches))
    return load_settings().model_copy(update={"stores_file": stores})


@pytest.fixture(scope="module")
def stores(settings: Settings) -> Stores:
    return load_stores(settings.stores_file)


@pytest.fixture(scope="module")
def rows(stores: Stores) -> dict[str, pa.Table]:
    made: dict[str, list[pa.Table]] = {}
    for _, of_slice in slices_of_rows(PLAN, stores):
        for name, of_table in of_slice.items():
            made.setdefault(name, []).append(of_table)
    return {name: pa.concat_tables(parts) for name, parts in made.items()}


def table(name: str) -> Table:
    return next(table for table in TABLES if table.name == name)


def test_there_are_as_many_rows_as_planned(rows: dict[str, pa.Table]) -> None:
    assert len(rows["silver.orders"]) == PLAN.orders
    assert len(rows["silver.detections"]) == PLAN.detections


def test_a_key_names_one_row(rows: dict[str, pa.Table]) -> None:
    for name, of_table in rows.items():
        keys = of_table.select(table(name).key)
        assert keys.group_by(list(table(name).key)).aggregate([]).num_rows == len(keys) > 0, name


def test_the_same_plan_makes_the_same_rows(rows: dict[str, pa.Table], stores: Stores) -> None:
    _, first = next(iter(slices_of_rows(PLAN, stores)))
    for name, of_table in first.items():
        assert of_table.equals(rows[name].slice(0, len(of_table)).combine_chunks()), name


def test_who_is_seen_is_seen_within_the_slice_also_where_an_hour_begins_at_its_end(
    stores: Stores,
) -> None:
    for of in Plan(orders=1000, detections=40_000, days=2, branches=3, commits=289).slices(stores):
        made, _, _ = CameraDesk(stores).rows(np.random.default_rng([7, of.number]), of)
        seen = made["silver.detections"]["captured_at"].to_pylist()
        assert all(of.start <= at < of.end for at in seen)


def test_what_is_sold_is_the_same_by_order_and_by_hour(rows: dict[str, pa.Table]) -> None:
    created = rows["silver.orders"].filter(
        rows["silver.orders"]["event_type"].to_numpy() == "order.created"
    )
    hours = rows["gold.store_hourly"]
    assert len(created) == sum(hours["orders"].to_pylist())
    assert sum(created["total_price"].to_pylist()) == sum(hours["revenue"].to_pylist())
    for order in created.slice(0, 50).to_pylist():
        assert order["total_price"] == sum(i["quantity"] * i["unit_price"] for i in order["items"])


@contextmanager
def small_lake(folder: Path, settings: Settings, names: Iterable[str]) -> Iterator[IcebergLake]:
    """These tables in a catalog in SQLite, empty."""
    with closing(open_lake(folder)) as catalog:
        for declared in (*map(table, names), QUALITY_MAINTENANCE_RUNS):
            catalog.create_namespace_if_not_exists(declared.name.partition(".")[0])
            columns = Schema.from_json(json.dumps(_struct(declared.columns)))
            make_table(catalog, declared, pa.schema(columns.to_arrow()))
        yield IcebergLake(settings, catalog)


@pytest.fixture(scope="module")
def lake(
    tmp_path_factory: pytest.TempPathFactory,
    settings: Settings,
    stores: Stores,
    rows: dict[str, pa.Table],
) -> Iterator[IcebergLake]:
    """A house in both layouts."""
    with small_lake(tmp_path_factory.mktemp("lake"), settings, rows) as lake:
        made = write_raw(lake, PLAN, stores, lambda _: None)
        name_layout(lake, made, "raw")
        join_all(lake, [t for t in TABLES if t.name in made], lambda _: None)
        name_layout(lake, made, "maintained")
        yield lake


def test_a_house_that_is_written_again_after_a_crash_has_nothing_twice(
    tmp_path: Path, settings: Settings, stores: Stores, rows: dict[str, pa.Table]
) -> None:
    with small_lake(tmp_path, settings, rows) as lake:
        first = write_raw(lake, TINY, stores, lambda _: None)
        assert write_raw(lake.another(), TINY, stores, lambda _: None) == first
        assert held(lake.load(table("silver.orders"))).rows == TINY.orders
        assert held(lake.load(table("gold.store_hourly"))).rows == first["gold.store_hourly"]


@pytest.fixture
def engine(
    lake: IcebergLake, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """DuckDB on the catalog in SQLite."""

    @contextmanager
    def the_catalog(_: Settings) -> Iterator[Catalog]:
        yield lake.catalog

    monkeypatch.setattr("queries.lake.open_catalog", the_catalog)
    with closing(open_engine(settings, "duckdb")) as engine:
        yield engine


def test_every_question_has_the_same_answer_in_both_layouts(
    lake: IcebergLake, engine: Engine, stores: Stores
) -> None:
    asked, board = list(questions().values()), Board()
    names = sorted(set().union(*(tables_of(question.sql, stores) for question in asked)))
    files: dict[Layout, int] = {}
    for layout in LAYOUTS:
        show(lake, names, layout)
        files[layout] = sum(held(lake.load(table(name))).files for name in names)
        ask_all(engine, asked, layout, board, runs=1, forget=lambda: None)

    said = board.result()

    assert len(said) == 12
    assert files["maintained"] < files["raw"], "those of the months are joined"
    for question, figures in said.items():
        assert figures["equal"], (question, figures)
        assert figures["rows"] > 0
        assert figures["duckdb"]["maintained_to_raw"]["warm"] > 0


def note(board: Board, question: str, layout: str) -> None:
    """A second, cold and warm."""
    timed = board.timed(question, "duckdb", layout)
    timed.cold.append(1.0)
    timed.warm.append(1.0)


def test_a_figure_whose_answer_differs_is_void() -> None:
    board = Board()
    for layout, answer in (("raw", 1), ("maintained", 2)):
        note(board, "how_many", layout)
        board.compare("how_many", f"duckdb, {layout}", Answer.of(["n"], [[answer]]))

    (said,) = board.result().values()

    assert (said["equal"], said["differs"]) == (False, ["duckdb, maintained"])
    assert said["duckdb"]["maintained_to_raw"] is None


def test_an_empty_answer_shows_nothing() -> None:
    board = Board()
    note(board, "nothing", "raw")
    board.compare("nothing", "duckdb, raw", Answer.of(["n"], []))
    assert not board.result()["nothing"]["equal"]


def test_the_first_candidate_is_the_table_as_it_is() -> None:
    for trial in TRIALS:
        (_, now), *others = trial.candidates()
        assert (now.partition, now.sort) == (trial.table.partition, trial.table.sort)
        assert now.upkeep.target_bytes == trial.table.upkeep.target_bytes
        assert len({now.name, *(table.name for _, table in others)}) == 1 + len(others)
        assert len(set(trial.shapes)) == len(others) > 1, "each differs from the others"
