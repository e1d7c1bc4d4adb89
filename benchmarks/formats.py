"""What a commit costs in each table format: `python -m benchmarks.formats --commits 300`.

As the streams write: appends of messages to bronze.order_events, with the guard, and upserts of
hours into gold.order_hourly; one after the other, nothing else running. Seconds a commit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import typer

from benchmarks import Out, fresh, notify, print_result, timed
from benchmarks.maintenance import order_messages
from conf.settings import Settings
from streaming.lake.formats import create_tables, open_lake
from streaming.lake.protocol import Lake
from streaming.lake.tables import BRONZE_ORDER_EVENTS, GOLD_ORDER_HOURLY
from streaming.runtime.session import build_session

BRANCHES = 20


def measure(settings: Settings, commits: int, rows: int) -> dict[str, Any]:
    """Both kinds of commit in the format of the settings, into tables that are empty at first."""
    spark = build_session(settings, "benchmark")
    create_tables(spark, settings)
    spark.stop()
    with open_lake(settings) as lake:
        return {
            "append": _timed(commits, lambda n: _append(lake, n, rows)),
            "upsert": _timed(commits, lambda n: _upsert(lake, n)),
        }


def _append(lake: Lake, number: int, rows: int) -> None:
    messages = order_messages(lake.schema(BRONZE_ORDER_EVENTS.name), number * rows, rows, 600)
    lake.append(BRONZE_ORDER_EVENTS, messages, number)


def _upsert(lake: Lake, number: int) -> None:
    """The hour under way, of every branch; a new one each 60 commits."""
    hour = datetime(2024, 5, 1, tzinfo=timezone.utc) + number // 60 * timedelta(hours=1)
    hours = [
        {"branch_id": f"B{branch:02d}", "hour": hour, "currency": "EUR", "change_id": number}
        for branch in range(BRANCHES)
    ]
    schema = lake.schema(GOLD_ORDER_HOURLY.name)
    lake.upsert(GOLD_ORDER_HOURLY, pa.Table.from_pylist(hours, schema=schema), "hour")


def _timed(commits: int, commit: Callable[[int], None]) -> dict[str, float]:
    seconds = []
    for number in range(commits):
        seconds.append(timed(partial(commit, number)))
        notify(f"{number + 1} of {commits} commits")
    p50, p95 = np.percentile(seconds, [50, 95])
    first, last = np.median(seconds[:20]), np.median(seconds[-20:])
    found = {"p50": p50, "p95": p95, "first_20": first, "last_20": last}
    return {name: round(float(value), 4) for name, value in found.items()}


def main(
    commits: Annotated[int, typer.Option(min=20)] = 300,
    rows: Annotated[int, typer.Option(min=1, help="Of an append.")] = 300,
    out: Out = None,
) -> None:
    """Measure both formats, in a fresh deployment, and print the JSON."""
    found = {}
    with fresh() as deployment:
        settings = deployment.settings
        for table_format in ("iceberg", "delta"):
            catalog = settings.catalog.model_copy(update={"format": table_format})
            chosen = settings.model_copy(update={"catalog": catalog})
            found[table_format] = measure(chosen, commits, rows)
    print_result({"commits": commits, "rows": rows, "seconds": found}, out)


if __name__ == "__main__":
    typer.run(main)
