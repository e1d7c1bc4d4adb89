"""Event to visible, all streams running: `python -m benchmarks.latency --seconds 120`.

Orders at `--rate` a minute through the gateway and one 5-fps camera, as in `storelake demo`. Two
outside readers note when each event became visible: a Postgres client and an Iceberg reader without
Spark. Percentiles count events from `--warm-up` seconds on, and for each ten seconds of the run, so
that the warm-up can be seen. CPU is in cores, by process of the Spark application.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

from benchmarks import print_result, tell
from cli import processes, watch
from cli.demo import stage
from cli.demo.scene import real_clip
from conf.settings import Settings, load_settings
from infra import local
from infra.local.process import wait_until
from simulator.send import send

WINDOW = timedelta(seconds=10)


@dataclass
class CpuTimes:
    """CPU seconds of a process tree since it was made, by kind of process."""

    pid: int
    _at: float = field(default_factory=time.monotonic)
    _before: dict[int, float] = field(init=False)

    def __post_init__(self) -> None:
        self._before = {p.pid: _cpu_seconds(p) for p in self._tree()}

    def cores(self) -> dict[str, float]:
        """Mean number of cores kept busy: `jvm`, `driver`, and the Python workers together."""
        elapsed, busy = (
            time.monotonic() - self._at,
            dict.fromkeys(("driver", "jvm", "workers"), 0.0),
        )
        for process in self._tree():
            kind = "driver" if process.pid == self.pid else _kind(process)
            busy[kind] += _cpu_seconds(process) - self._before.get(process.pid, 0.0)
        return {kind: round(seconds / elapsed, 2) for kind, seconds in busy.items()}

    def _tree(self) -> list[psutil.Process]:
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _kind(process: psutil.Process) -> str:
    try:
        return "jvm" if "java" in process.name() else "workers"
    except psutil.NoSuchProcess:
        return "workers"


def percentiles(pairs: Sequence[tuple[datetime, float]]) -> dict[str, float | int]:
    """p50, p95, maximum (seconds) and count of (event time, seconds until visible)."""
    values = [seconds for _, seconds in pairs]
    if not values:
        return {"events": 0}
    p50, p95 = np.percentile(values, [50, 95])
    return {
        "p50": round(float(p50), 2),
        "p95": round(float(p95), 2),
        "max": round(max(values), 2),
        "events": len(values),
    }


def windows(pairs: Sequence[tuple[datetime, float]], start: datetime) -> list[float | None]:
    """p95 of each ten seconds of event time since `start`; None for an empty window."""
    count = max((int((t - start) / WINDOW) for t, _ in pairs), default=-1) + 1
    found = [
        percentiles([p for p in pairs if n * WINDOW <= p[0] - start < (n + 1) * WINDOW])
        for n in range(count)
    ]
    return [f.get("p95") for f in found]


ORDER_STREAMS = (
    "order_event_processor",
    "real_time_metrics",
    "order_status_tracker",
    "product_analytics",
    "bronze_order_events",
)


def measure(
    settings: Settings, rate: float, seconds: float, warm_up: float, *, orders_only: bool
) -> dict[str, Any]:
    """One run on running services."""
    footage = None if orders_only else real_clip(settings)
    postgres, lake, memory = watch.Latencies(), watch.Latencies(), watch.Memory()
    with ExitStack() as stack:
        begun = time.monotonic()
        names = ORDER_STREAMS if orders_only else ()
        streams = processes.start_streams(stack, settings, tell, names)
        start_seconds = time.monotonic() - begun
        processes.start_gateway(stack, settings)
        watchers = [
            watch.watch_postgres(settings, postgres),
            watch.watch_lake(settings, lake),
            watch.watch_memory(streams.pid, memory),
        ]
        for watcher in watchers:
            watcher.start()
        start = datetime.now(timezone.utc)
        camera = None
        if footage is not None:
            camera = stage.start_cameras(stack, settings, footage, seconds)
        send(settings, rate=rate, seconds=warm_up)
        cpu = CpuTimes(streams.pid)
        before = processes.stream_states(settings)
        send(settings, rate=rate, seconds=seconds - warm_up)
        cores, after = cpu.cores(), processes.stream_states(settings)
        if camera is not None:
            stage.camera_summary(*camera, settings)
        wait_until(lambda: len(lake.pairs) >= len(postgres.pairs), 30, every=0.2)
        for watcher in watchers:
            watcher.finish()
    warm = start + timedelta(seconds=warm_up)
    return {
        "rate_a_minute": rate,
        "seconds": seconds,
        "warm_up": warm_up,
        "footage": footage.note if footage else None,
        "start_seconds": round(start_seconds, 1),
        "postgres": percentiles([p for p in postgres.pairs if p[0] >= warm]),
        settings.catalog.format: percentiles([p for p in lake.pairs if p[0] >= warm]),
        "postgres_p95_by_10s": windows(postgres.pairs, start),
        f"{settings.catalog.format}_p95_by_10s": windows(lake.pairs, start),
        "cores": cores,
        "batches": {
            name: state["finished_batches"] - before[name]["finished_batches"]
            for name, state in after.items()
        },
        "peak_mib": memory.peak // 2**20,
    }


def main(
    *,
    rate: Annotated[float, typer.Option(min=10)] = 1000,
    seconds: Annotated[float, typer.Option(min=20)] = 120,
    warm_up: Annotated[float, typer.Option(min=0)] = 60,
    orders_only: Annotated[bool, typer.Option(help="No camera and no camera stream.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the JSON there, too.")] = None,
) -> None:
    """Measure once and print the JSON."""
    with local.running(load_settings(), tell) as settings:
        found = measure(settings, rate, seconds, warm_up, orders_only=orders_only)
    print_result(found, out)


if __name__ == "__main__":
    typer.run(main)
