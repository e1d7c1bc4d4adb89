"""Commit time by commits since maintenance; floor: an append by PyIceberg without guard."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Annotated

import typer

from benchmarks import Out, fresh, notify, print_result, timed
from benchmarks.growth import Point, curve, median, point
from benchmarks.maintenance import order_messages
from conf.settings import Settings
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.iceberg.tables import create_tables
from streaming.lake.tables import BRONZE_ORDER_EVENTS
from streaming.runtime.session import build_session

ROWS = 300  # of one commit


def measure(settings: Settings, commits: int, window: int) -> list[Point]:
    """The median of each window of commits."""
    points: list[Point] = []
    with closing(open_catalog(settings)) as catalog:
        lake, table = IcebergLake(settings, catalog), BRONZE_ORDER_EVENTS
        ours = lake.load(table)
        plain = catalog.create_table("bronze.floor", ours.schema(), properties=ours.properties)
        schema = ours.schema().as_arrow()
        seconds, floor = list[float](), list[float]()
        for number in range(1, commits + 1):
            rows = order_messages(schema, number * ROWS, ROWS, 600)
            seconds.append(timed(partial(lake.append, table, rows, number)))
            floor.append(timed(partial(plain.append, rows)))
            if number % window == 0:
                notify(f"{number:,} commits")
                least = median(floor[-window:])
                points.append(point(number, seconds[-window:], floor_seconds=least))
    return points


def main(
    commits: Annotated[int, typer.Option(help="In all.")] = 2000,
    window: Annotated[int, typer.Option(help="Commits of a point.")] = 100,
    out: Out = None,
) -> None:
    """Lake: commit time by commits since maintenance."""
    with fresh() as deployment:
        settings = deployment.settings
        spark = build_session(settings, "benchmark")
        create_tables(spark, settings)
        spark.stop()
        points = measure(settings, commits, window)
    print_result({"rows_a_commit": ROWS, **curve(points, points[0])}, out)
