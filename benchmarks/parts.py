"""The parts of `python -m benchmarks`, and the figures of each that are compared with targets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A figure of a result.

    Attributes:
        title: with its unit.
        path: keys in the JSON, with dots between; a number is an index.
        target: empty without one.
    """

    title: str
    path: str
    target: str = ""

    def of(self, result: Mapping[str, Any] | None) -> str:
        """The figure in a result; without one a dash."""
        value: Any = result
        for key in self.path.split("."):
            if value is None:
                return "-"
            value = value[int(key)] if isinstance(value, list) else value.get(key)
        return f"{value:,}" if isinstance(value, (int, float)) else "-"


@dataclass(frozen=True)
class Part:
    """A benchmark.

    Attributes:
        name: of its result file.
        title: what it measures.
        command: what follows `python -m benchmarks.` at full size.
        short: arguments of the short form; None: it has none.
        seconds: that the short form, and that the full one, may take.
        figures: of the result.
    """

    name: str
    title: str
    command: str
    short: str | None
    seconds: tuple[int, int]
    figures: tuple[Figure, ...]

    @property
    def module(self) -> str:
        """Below `benchmarks`."""
        return self.command.split()[0]

    def arguments(self, *, full: bool) -> list[str]:
        """Of the module."""
        arguments = self.command.split()[1:]
        if full:
            return arguments
        curve = arguments[:1] if self.module == "growth" else []
        return [*curve, *(self.short or "").split()]


def read_result(folder: Path, name: str) -> dict[str, Any] | None:
    """The result of a part; None without a file."""
    file = folder / f"{name}.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def _drain(target: str) -> tuple[Figure, ...]:
    return (
        Figure("events a second", "events_a_second"),
        Figure("times the plain consumer", "ratio_to_floor", target),
        Figure("times the consumer with our tables", "ratio_to_same_tables"),
        Figure("us of the driver's Python an event", "cpu_us_an_event.driver", "15"),
    )


_LATENCY = (
    Figure("s to Postgres, p95", "postgres.p95", "1.2"),
    Figure("s to Iceberg, p95", "iceberg.p95", "1.6"),
    Figure("s from frame to lake, p95", "footfall_iceberg.p95", "3.5"),
)

PARTS = (
    Part(
        "drain",
        "waiting orders into Postgres, silver, quarantine and bronze",
        "drain --events 200000",
        "--events 50000",
        (120, 600),
        _drain("2.5, then 2.0"),
    ),
    Part(
        "drain_all",
        "the same, all order streams",
        "drain --events 200000 --streams all",
        "--events 30000 --streams all",
        (150, 900),
        _drain("4.0"),
    ),
    Part(
        "latency",
        "1,000 orders a minute and two cameras, until another client sees them",
        "latency --cameras 2 --seconds 120 --warm-up 60",
        "--cameras 2 --seconds 40 --warm-up 20",
        (150, 300),
        _LATENCY,
    ),
    Part(
        "latency_four_cameras",
        "the same with four cameras and the shipped model",
        "latency --cameras 4 --detector onnx --seconds 120 --warm-up 60",
        None,
        (0, 300),
        _LATENCY[2:],
    ),
    Part(
        "start",
        "`storelake run` until all streams are ready, and after SIGKILL to the next commit",
        "start",
        "--starts 1",
        (90, 180),
        (
            Figure("s to start", "warm_s", "12"),
            Figure("s to recover", "recovery.seconds", "20"),
        ),
    ),
    Part(
        "gateway",
        "events that the gateway accepts",
        "gateway --seconds 15",
        "--seconds 3",
        (60, 180),
        (
            Figure("events a second, one a request", "single.events_a_second"),
            Figure("events a second, 500 a request", "batched.events_a_second"),
            Figure("ms of a request, p95", "single.request_ms.p95"),
        ),
    ),
    Part(
        "formats",
        "a commit in Iceberg and in Delta",
        "formats --commits 300",
        "--commits 40",
        (90, 600),
        (
            Figure("s of an append, Iceberg", "seconds.iceberg.append.p50"),
            Figure("s of an append, Delta", "seconds.delta.append.p50"),
            Figure("s of an upsert, Iceberg", "seconds.iceberg.upsert.p50"),
            Figure("s of an upsert, Delta", "seconds.delta.upsert.p50"),
        ),
    ),
    Part(
        "detections",
        "waiting frames into silver and bronze",
        "detections --rows 800000 --streams silver_detections,bronze_detections",
        None,
        (0, 400),
        (Figure("rows a second", "rows_a_second_all"),),
    ),
    Part(
        "detections_with_footfall",
        "waiting frames into silver, bronze and footfall",
        "detections --rows 800000",
        None,
        (0, 400),
        (
            Figure("rows a second to silver", "rows_a_second.silver_detections", "30,000"),
            Figure("rows a second to footfall", "rows_a_second.footfall"),
        ),
    ),
    Part(
        "inference",
        "the inference service over its bare model",
        "inference",
        None,
        (0, 400),
        (
            Figure("ms of CPU a frame", "against_the_floor.cpu_ms_a_frame.service"),
            Figure("ms of CPU a frame, bare", "against_the_floor.cpu_ms_a_frame.bare"),
            Figure("frames of four cameras dropped", "cameras.dropped"),
        ),
    ),
    Part(
        "quality",
        "validation beside the streams",
        "quality",
        None,
        (0, 900),
        (Figure("cores", "cores", "0.15"),),
    ),
    Part(
        "maintenance",
        "whether a maintained table ages in 2,000 commits",
        "maintenance",
        None,
        (0, 1200),
        (
            Figure("s of a commit at the end", "after_all.commit_s"),
            Figure("times a commit at the start", "ratio.commit_s", "1.3"),
            Figure("times a scan's planning at the start", "ratio.plan_s"),
        ),
    ),
    Part(
        "growth_status",
        "batch time of order status by orders in its state",
        "growth status",
        "--sizes 3000,30000 --batches 6",
        (180, 1800),
        (Figure("times the batch time at a tenth of the orders", "ratio", "1.3"),),
    ),
    Part(
        "growth_upsert",
        "upsert of 1,000 orders by rows in the tables",
        "growth upsert",
        "--sizes 50000,500000 --samples 15",
        (150, 3600),
        (Figure("times the upsert at a tenth of the rows", "ratio", "1.5"),),
    ),
    Part(
        "growth_commits",
        "commit to the lake by commits since maintenance",
        "growth commits",
        "--commits 150 --window 15",
        (90, 1800),
        (Figure("times the first commits", "ratio"),),
    ),
    Part(
        "growth_batches",
        "drain by rows a batch",
        "growth batches",
        "--sizes 1000,5000,20000 --events 20000",
        (240, 1800),
        (Figure("rows a batch, fastest", "best"),),
    ),
)
