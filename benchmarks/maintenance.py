"""Does a table age under maintenance? `python -m benchmarks.maintenance [--spark]`.

Small commits by the writer of the streams (`IcebergLake.append`) into one partition, with a run of
`storelake maintain` after every so many. Commit time and scan planning after 2,000 commits are
compared with those after 20: both are taken 20 commits after the last run, or after nothing.
Commits, the retention of snapshots (`--retention`) and the age at which maintenance may touch a
file are some ten times faster than in a deployment, where a stream commits about once a second.

With `--spark`, Iceberg's own procedures do the same work on a second table of the same commits:
what decided docs/adr/0020.
"""

from __future__ import annotations

import statistics
import time
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Annotated, Any

import psutil
import pyarrow as pa
import typer
from pyspark.sql import SparkSession

from benchmarks import Out, notify, print_result, timed
from conf.settings import Settings, load_settings
from infra import local
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.iceberg.tables import create_tables
from streaming.lake.maintenance.run import maintain, run_maintenance
from streaming.lake.tables import BRONZE_DETECTIONS, BRONZE_ORDER_EVENTS, Table
from streaming.runtime.session import build_session
from verification.processes import cpu_seconds

FEW = 20
ROWS = 20  # of one commit
QUIET = timedelta(seconds=5)
SAMPLES = 9


def _silent(_: str) -> None:
    """Discard the progress of a run."""


def measure(settings: Settings, commits: int, every: int) -> dict[str, Any]:
    """The ratios, on running services."""
    policy = replace(BRONZE_ORDER_EVENTS.policy, quiet=QUIET)
    table = replace(BRONZE_ORDER_EVENTS, policy=policy)
    with closing(open_catalog(settings)) as catalog:
        lake, runs, times, before_run = IcebergLake(settings, catalog), [], [], []
        cpu: list[float] = []
        few: dict[str, float] = {}
        for number in range(1, commits + 1):
            batch = _batch(lake, BRONZE_ORDER_EVENTS, number)
            began = time.process_time()
            times.append(timed(partial(lake.append, BRONZE_ORDER_EVENTS, batch, number)))
            cpu.append(time.process_time() - began)
            if number == FEW:
                few = _figures(lake, times, cpu)
            if number % every == 0:
                before_run.append(_plan(lake))
                runs += maintain(lake, [table], _silent)
                notify(f"{number} commits")
        many = _figures(lake, times, cpu)
        held = lake.load(BRONZE_ORDER_EVENTS).scan().count()
    return {
        "commits": commits,
        "rows_a_commit": ROWS,
        "commits_between_runs": every,
        "rows_held": held,
        "after_20": few,
        "after_all": many,
        "ratio": {name: round(many[name] / few[name], 2) for name in ("commit_s", "plan_s")},
        "plan_s_before_a_run": round(statistics.median(before_run), 4),
        "run_s": round(statistics.median(run.seconds for run in runs), 3),
        "states": sorted({run.state for run in runs}),
    }


def against_spark(settings: Settings, commits: int) -> dict[str, Any]:
    """The same work by `storelake maintain` and by Iceberg's procedures."""
    with closing(open_catalog(settings)) as catalog:
        lake = IcebergLake(settings, catalog)
        for table in (BRONZE_ORDER_EVENTS, BRONZE_DETECTIONS):
            for number in range(1, commits + 1):
                lake.append(table, _batch(lake, table, number), number)
            notify(f"{table.name} is there")
    time.sleep(BRONZE_ORDER_EVENTS.policy.quiet.total_seconds())  # until nobody has just written
    cpu = sum(cpu_seconds().values())
    ours = timed(lambda: run_maintenance(settings, _silent, only=BRONZE_ORDER_EVENTS.name))
    spent = sum(cpu_seconds().values()) - cpu
    return {
        "commits": commits,
        "pyiceberg": {
            "seconds": round(ours, 2),
            "cpu_s": round(spent, 2),
            "rss_mb": psutil.Process().memory_info().rss >> 20,
        },
        "spark": _by_procedures(settings, BRONZE_DETECTIONS),
    }


def _by_procedures(settings: Settings, table: Table) -> dict[str, Any]:
    started = time.monotonic()
    spark = build_session(settings, "storelake:maintenance")
    spark.sql("SELECT 1").collect()
    (jvm,) = (p for p in psutil.Process().children(recursive=True) if "java" in p.name())
    before, begun = cpu_seconds()["jvm"], time.monotonic()
    name, seconds = settings.catalog.name, {}
    order = ", ".join(table.sort)
    long_ago = (datetime.now(timezone.utc) - timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S")
    for procedure, more in (
        ("rewrite_data_files", f", strategy => 'sort', sort_order => '{order}'"),
        ("rewrite_manifests", ""),
        ("expire_snapshots", ", retain_last => 1"),
        ("remove_orphan_files", f", older_than => TIMESTAMP '{long_ago}'"),
    ):
        call = f"CALL {name}.system.{procedure}(table => '{table.name}'{more})"
        seconds[procedure] = round(timed(partial(_call, spark, call)), 2)
    figures = {
        "session_s": round(begun - started, 2),
        "seconds": round(time.monotonic() - begun, 2),
        "each": seconds,
        "cpu_s": round(cpu_seconds()["jvm"] - before, 2),
        "rss_mb": jvm.memory_info().rss >> 20,
    }
    spark.stop()
    return figures


def order_messages(schema: pa.Schema, first: int, rows: int, size: int) -> pa.Table:
    """Messages of bronze.order_events from a position on, each of so many bytes."""
    now = datetime.now(timezone.utc)
    message = {"value": b"x" * size, "topic": "order-created", "partition": 0, "timestamp": now}
    return pa.Table.from_pylist(
        [message | {"position": f"{first + i:020}"} for i in range(rows)], schema=schema
    )


def _batch(lake: IcebergLake, table: Table, number: int) -> pa.Table:
    return order_messages(lake.load(table).schema().as_arrow(), number * ROWS, ROWS, 300)


def _figures(lake: IcebergLake, times: list[float], cpu: list[float]) -> dict[str, float]:
    table = lake.load(BRONZE_ORDER_EVENTS)
    snapshot = table.current_snapshot()
    return {
        "commit_s": round(statistics.median(times[-FEW // 2 :]), 4),
        "commit_cpu_s": round(statistics.median(cpu[-FEW // 2 :]), 4),
        "plan_s": round(_plan(lake), 4),
        "files": len(list(table.scan().plan_files())),
        "manifests": len(snapshot.manifests(table.io)) if snapshot else 0,
        "snapshots": len(table.metadata.snapshots),
        "metadata_kib": len(table.metadata.model_dump_json()) >> 10,
    }


def _plan(lake: IcebergLake) -> float:
    """Seconds from the name of the table to the list of its files."""
    return statistics.median(
        timed(lambda: list(lake.load(BRONZE_ORDER_EVENTS).scan().plan_files()))
        for _ in range(SAMPLES)
    )


def _call(spark: SparkSession, procedure: str) -> None:
    spark.sql(procedure).collect()


def main(
    *,
    commits: Annotated[int, typer.Option(help="Small commits in all.")] = 2000,
    every: Annotated[int, typer.Option(help="Commits between two runs of maintenance.")] = 110,
    retention: Annotated[float, typer.Option(help="Of snapshots, in seconds.")] = 15,
    spark: Annotated[bool, typer.Option("--spark", help="Compare with Iceberg's own.")] = False,
    out: Out = None,
) -> None:
    """Measure and print."""
    chosen = load_settings(catalog={"snapshot_retention": timedelta(seconds=retention)})
    with local.running(chosen, notify) as settings:
        spark_session = build_session(settings, "storelake:benchmark")
        create_tables(spark_session, settings)
        spark_session.stop()
        result = against_spark(settings, commits) if spark else measure(settings, commits, every)
    print_result(result, out)


if __name__ == "__main__":
    typer.run(main)
