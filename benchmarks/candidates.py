"""Other layouts of single tables: `python -m benchmarks.candidates --out FILE`.

What docs/adr/0024 rests on. Of some days of the chain of `benchmarks.chain`, each candidate is
written commit by commit as the streams do, then joined by `storelake maintain` with its policy;
what that costs the writer is measured as well as what readers gain (`benchmarks.trials`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import BooleanExpression
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    DayTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
)

from benchmarks import print_result, tell
from benchmarks.board import alike
from benchmarks.chain import Plan, slices_of_rows
from benchmarks.chain.house import held, join_all
from benchmarks.chain.place import chosen, house_of
from benchmarks.trials import MIB, SPACE, TRIALS, Trial
from conf.settings import Settings
from conf.stores import load_stores
from queries import ENGINES, Engine, open_engine
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.tables import COMMON_PROPERTIES, Table

TRANSFORMS: Mapping[str, Transform[Any, Any]] = {
    "": IdentityTransform(),
    "days": DayTransform(),
    "months": MonthTransform(),
}


def measure_candidates(
    settings: Settings, lake: IcebergLake, plan: Plan, engines: Iterable[str], runs: int
) -> dict[str, Any]:
    """Figures by table and candidate; the tables are gone afterwards."""
    lake.catalog.create_namespace_if_not_exists(SPACE)
    found: dict[str, Any] = {}
    for trial in TRIALS:
        tables = [table for _, table in trial.candidates()]
        try:
            commits = _write(lake, settings, plan, trial)
            figures = [
                {"row_group": shape.group, **_join(lake, table, commit_s)}
                for (shape, table), commit_s in zip(trial.candidates(), commits, strict=True)
            ]
            for engine_name in engines:
                with closing(open_engine(settings, engine_name)) as engine:
                    for probe in trial.probes:
                        tell(f"{trial.table.name}, {engine_name}: {probe.name}")
                        planned = [
                            _planned(lake, table, probe.filter(trial.time)) for table in tables
                        ]
                        queries = [probe.sql(t.name, trial.time, engine_name) for t in tables]
                        timed = _in_turn(engine, queries, runs)
                        for of, files, said in zip(figures, planned, timed, strict=True):
                            of["probes"].setdefault(probe.name, files)[engine_name] = said
        finally:
            for table in tables:
                if lake.catalog.table_exists(table.name):
                    lake.catalog.purge_table(table.name)
        found[trial.table.name] = figures
    return found


def _write(lake: IcebergLake, settings: Settings, plan: Plan, trial: Trial) -> list[float]:
    """The same commits into each table: seconds of one of them, the median."""
    source, tables = lake.load(trial.table), []
    for shape, table in trial.candidates():
        tables.append(table)
        if lake.catalog.table_exists(table.name):  # left by a run that was cut short
            lake.catalog.purge_table(table.name)
        more = {"write.parquet.row-group-limit": str(shape.group)} if shape.group else {}
        make_table(lake.catalog, table, source.schema(), more)
    seconds: list[list[float]] = [[] for _ in tables]
    for of, rows in slices_of_rows(plan, load_stores(settings.stores_file)):
        tell(f"{trial.table.name}: {of.number + 1} of {plan.commits} commits")
        mine = rows[trial.table.name]
        for table, taken in zip(tables, seconds, strict=True):
            began = time.perf_counter()
            if table.strategy == "append":
                lake.append(table, mine, of.number)
            elif len(mine):
                lake.upsert(table, mine, table.time_column)
            taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in seconds]


def make_table(
    catalog: Catalog,
    table: Table,
    schema: Schema | pa.Schema,
    properties: Mapping[str, str] | None = None,
) -> None:
    """A table with the partitions that it declares, made without Spark."""
    told = {**COMMON_PROPERTIES, **(properties or {})}
    made = catalog.create_table(table.name, schema, properties=told)
    with made.update_spec() as spec:
        for said in table.partition:  # days(event_time), or a plain column
            kind, _, column = said.rstrip(")").rpartition("(")
            spec.add_field(column, TRANSFORMS[kind], f"{column}_{kind or 'value'}")


def _join(lake: IcebergLake, table: Table, commit_s: float) -> dict[str, Any]:
    raw = held(lake.load(table))
    (done,) = join_all(lake, [table], tell)
    joined = held(lake.load(table))
    return {
        "partition": list(table.partition),
        "sort": list(table.sort),
        "target_mib": table.upkeep.target_bytes // MIB,
        "rows": joined.rows,
        "commit_s": round(commit_s, 4),
        "raw_files": raw.files,
        "files": joined.files,
        "bytes": joined.bytes,
        "maintain_s": done.seconds,
        "probes": {},
    }


def _in_turn(engine: Engine, queries: Sequence[str], runs: int) -> list[dict[str, Any]]:
    """Each candidate is asked in turn, so that what slows the machine slows them alike.

    Where one of them answers otherwise than the first, no figure counts.
    """
    taken: list[list[float]] = [[] for _ in queries]
    first, equal = engine.ask(queries[0]), True
    for _ in range(1 + runs):
        for query, seconds in zip(queries, taken, strict=True):
            began = time.perf_counter()
            answer = engine.ask(query)
            seconds.append(time.perf_counter() - began)
            equal = equal and alike(first, answer)
    return [
        {
            "equal": equal,
            "warm_s": round(statistics.median(seconds[1:]), 4) if equal else None,
            "warm_from_s": round(min(seconds[1:]), 4),
            "warm_to_s": round(max(seconds[1:]), 4),
        }
        for seconds in taken
    ]


def _planned(lake: IcebergLake, table: Table, wanted: BooleanExpression) -> dict[str, Any]:
    """Files that may hold such rows, as their bounds say; all engines go by these."""
    files = [task.file for task in lake.load(table).scan(row_filter=wanted).plan_files()]
    return {"files": len(files), "bytes": sum(file.file_size_in_bytes for file in files)}


def main(
    *,
    orders: Annotated[int, typer.Option(min=1000, help="Order events.")] = 20_000,
    detections: Annotated[int, typer.Option(min=1000, help="Rows of silver.detections.")] = 100_000,
    days: Annotated[int, typer.Option(min=2, help="Of history.")] = 2,
    branches: Annotated[int, typer.Option(min=1, help="Of the chain.")] = 20,
    commits: Annotated[int, typer.Option(min=2, help="Of each table, at most.")] = 16,
    engine: Annotated[str, typer.Option(help="Names with commas.")] = "all",
    runs: Annotated[int, typer.Option(min=1, help="Warm ones.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON here.")] = None,
) -> None:
    """Write, join, probe, print."""
    plan, engines = Plan(orders, detections, days, branches, commits), chosen(engine, ENGINES)
    most = max(len(trial.candidates()) for trial in TRIALS)
    with house_of(plan, engines, "candidates", copies=most, keep=False, anew=True) as (
        settings,
        lake,
    ):
        tables = measure_candidates(settings, lake, plan, engines, runs)
    print_result({"plan": asdict(plan), "runs": runs, "tables": tables}, out)


if __name__ == "__main__":
    typer.run(main)
