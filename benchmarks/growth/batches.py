"""Drain rate by rows a batch, and the plain consumers once in the same run."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from benchmarks import Out, fresh, notify, print_result
from benchmarks.drain import WRITERS, drain, fill, floors
from benchmarks.growth import Point, Sizes, numbers


def main(
    sizes: Sizes = "1000,2500,5000,10000,20000,50000",
    events: Annotated[int, typer.Option(min=1000, help="Drained at each size.")] = 100_000,
    out: Out = None,
) -> None:
    """Drain: events a second by rows a batch."""
    points: list[Point] = []
    with fresh() as deployment:
        for seed, size in enumerate(numbers(sizes)):
            notify(f"batches of {size:,} rows")
            limit = {"STORELAKE_STREAMS__MAX_ROWS_PER_BATCH": str(size)}
            send = partial(fill, deployment.settings, events, seed)
            done, cpu = drain(deployment, dict.fromkeys(WRITERS, events), send, **limit)
            seconds = max(done.values())
            points.append(
                {
                    "x": size,
                    "seconds": seconds,
                    "events_a_second": round(events / seconds),
                    "cpu_us_an_event": round(sum(cpu.values()) / events * 1e6),
                }
            )
        floor = floors(deployment.settings, events)
    best = max(points, key=lambda one: one["events_a_second"])
    print_result({"events": events, **floor, "points": points, "best": best["x"]}, out)
