"""Event to visible, all streams running: `python -m benchmarks.latency --seconds 120`.

Orders at `--rate` a minute through the gateway and `--cameras` at 5 frames a second, which play the
clip of the demo. Two outside readers note when each order became visible, and when each frame was
counted in footfall_minute: a Postgres client and a reader of the lake without Spark. Percentiles
count what happened from `--warm-up` seconds on, and for each ten seconds of the run, so that the
warm-up can be seen. CPU is in cores, by process of the Spark application.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any

import psutil
import typer

from benchmarks import Out, notify, print_result
from conf.settings import Settings, load_settings
from conf.stores import load_stores
from infra import local
from infra.local.poller import Poller
from infra.local.process import wait_until
from infra.local.streams import stream_states
from quality.frame_observer import FrameObserver
from simulator.send import send
from streaming.lake.formats import open_lake
from streaming.sinks.postgres import Database
from verification import watch
from verification.cameras.footage import real_clip
from verification.demo.play import start_cameras
from verification.demo.scene import Scene
from verification.deployment import Deployment

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


def windows(found: watch.Latencies, start: datetime) -> list[float | None]:
    """p95 of each ten seconds of event time since `start`; None for an empty window."""
    parts: dict[int, watch.Latencies] = {}
    for pair in found.pairs:
        parts.setdefault((pair[0] - start) // WINDOW, watch.Latencies()).pairs.append(pair)
    last = max(parts, default=-1)
    return [parts.get(n, watch.Latencies()).summary()["p95"] for n in range(last + 1)]


ORDER_STREAMS = (
    "order_event_processor",
    "real_time_metrics",
    "order_status_tracker",
    "product_analytics",
    "bronze_order_events",
)


@dataclass(frozen=True)
class Load:
    """What the streams are given.

    Attributes:
        rate: orders a minute.
        seconds: how long, the warm-up included.
        warm_up: seconds whose events are in no percentile.
        cameras: how many play, the first ones of the store file; none: no camera stream, either.
        detector: of the cameras; None: as in the settings.
    """

    rate: float
    seconds: float
    warm_up: float
    cameras: int
    detector: str | None


@dataclass(frozen=True)
class Seen:
    """What readers outside the streams saw."""

    postgres: watch.Latencies = field(default_factory=watch.Latencies)
    lake: watch.Latencies = field(default_factory=watch.Latencies)
    footfall: watch.FrameCounts = field(default_factory=watch.FrameCounts)
    footfall_lake: watch.FrameCounts = field(default_factory=watch.FrameCounts)
    memory: watch.Memory = field(default_factory=watch.Memory)

    def pollers(self, settings: Settings, pid: int) -> list[Poller]:
        """Readers that have been started."""
        pollers = [
            watch.watch_postgres(settings, self.postgres),
            watch.watch_lake(settings, self.lake),
            watch.watch_footfall(settings, self.footfall),
            watch.watch_footfall_lake(settings, self.footfall_lake),
            watch.watch_memory(pid, self.memory),
        ]
        for poller in pollers:
            poller.start()
        return pollers


def films(settings: Settings, load: Load) -> Scene | None:
    """The clip of the demo for each of the cameras."""
    if not load.cameras:
        return None
    known = [c.camera_id for b in load_stores(settings.stores_file).branches for c in b.cameras]
    if load.cameras > len(known):
        raise typer.BadParameter(f"the store file has {len(known)} cameras")
    clip, note = real_clip(settings)
    return Scene(note, dict.fromkeys(known[: load.cameras], clip), load.detector)


def frames_since(settings: Settings, start: datetime) -> dict[str, list[datetime]]:
    """Camera -> when its frames were taken, in the order of their index, as bronze has them."""
    with closing(Database(settings.postgres.dsn, 1)) as db, open_lake(settings) as lake:
        frames = FrameObserver(db, lake).bronze()
    taken: dict[str, list[datetime]] = {}
    for frame in frames:
        if frame.captured_at >= start:
            taken.setdefault(frame.camera_id, []).append(frame.captured_at)
    return taken


def measure(settings: Settings, load: Load) -> dict[str, Any]:
    """One run on running services."""
    footage = films(settings, load)
    with ExitStack() as stack:
        begun = time.monotonic()
        names = () if footage else ORDER_STREAMS
        deployment = Deployment(settings, step=notify)
        streams = stack.enter_context(deployment.run_streams(*names))
        start_seconds = time.monotonic() - begun
        stack.enter_context(deployment.run_gateway())
        seen = Seen()
        pollers = seen.pollers(settings, streams.pid)
        start, camera = datetime.now(timezone.utc), None
        if footage:
            camera = stack.enter_context(start_cameras(deployment, footage, load.seconds))
        send(settings, rate=load.rate, seconds=load.warm_up)
        cpu = CpuTimes(streams.pid)
        before = stream_states(settings)
        send(settings, rate=load.rate, seconds=load.seconds - load.warm_up)
        cores, after = cpu.cores(), stream_states(settings)
        filmed = camera.totals() if camera else {}
        wait_until(lambda: len(seen.lake.pairs) >= len(seen.postgres.pairs), 30, every=0.2)
        published = filmed.get("published", 0)
        wait_until(lambda: seen.footfall_lake.total() >= published, 30, every=0.2)
        for poller in pollers:
            poller.finish()
    warm, lake_format = start + timedelta(seconds=load.warm_up), settings.catalog.format
    taken = frames_since(settings, start) if footage else {}
    in_postgres = seen.footfall.latencies(taken)
    return {
        "load_given": asdict(load),
        "footage": footage.note if footage else None,
        "start_seconds": round(start_seconds, 1),
        "postgres": seen.postgres.summary(warm),
        lake_format: seen.lake.summary(warm),
        "footfall_postgres": in_postgres.summary(warm),
        f"footfall_{lake_format}": seen.footfall_lake.latencies(taken).summary(warm),
        "frames": {name: filmed.get(name) for name in ("read", "published", "dropped")},
        "postgres_p95_by_10s": windows(seen.postgres, start),
        f"{lake_format}_p95_by_10s": windows(seen.lake, start),
        "footfall_postgres_p95_by_10s": windows(in_postgres, start),
        "cores": cores,
        "batches": {
            name: state["finished_batches"] - before[name]["finished_batches"]
            for name, state in after.items()
        },
        "peak_mib": seen.memory.peak // 2**20,
    }


def main(
    *,
    rate: Annotated[float, typer.Option(min=10, help="Orders a minute.")] = 1000,
    seconds: Annotated[float, typer.Option(min=20)] = 120,
    warm_up: Annotated[float, typer.Option(min=0)] = 60,
    cameras: Annotated[int, typer.Option(min=0, help="0: no camera stream, either.")] = 1,
    detector: Annotated[str | None, typer.Option(help="As in the settings, else.")] = None,
    out: Out = None,
) -> None:
    """Measure once and print the JSON."""
    load = Load(rate, seconds, warm_up, cameras, detector)
    with local.running(load_settings(), notify) as settings:
        found = measure(settings, load)
    print_result(found, out)


if __name__ == "__main__":
    typer.run(main)
