"""Event to visible, all streams running: `python -m benchmarks.latency --seconds 120`.

Orders at `--rate` a minute through the gateway and `--cameras` at 5 frames a second, which play the
clip of the demo. Two outside readers note when each order became visible, and when each frame was
counted in footfall_minute: a Postgres client and a reader of the lake without Spark. Percentiles
count what happened from `--warm-up` seconds on, and for each ten seconds of the run, so that the
warm-up can be seen. CPU is in cores, by process of the Spark application.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from benchmarks import Out, fresh, print_result
from benchmarks.drain import ORDER_STREAMS
from conf.settings import Settings
from conf.stores import load_stores
from infra.local.process import wait_until
from infra.local.streams import stream_states
from quality.frame_observer import FrameObserver
from simulator.send import send
from streaming.lake.formats import open_lake
from streaming.sinks.postgres import Database
from verification.cameras.footage import real_clip
from verification.demo.play import start_cameras
from verification.demo.scene import Scene
from verification.deployment import Deployment
from verification.processes import cpu_seconds
from verification.watch import Latencies, Watch

WINDOW = timedelta(seconds=10)


def windows(found: Latencies, start: datetime) -> list[float | None]:
    """p95 of each ten seconds of event time since `start`; None for an empty window."""
    parts: dict[int, Latencies] = defaultdict(Latencies)
    for pair in found.pairs:
        parts[(pair[0] - start) // WINDOW].pairs.append(pair)
    return [parts[n].summary()["p95"] for n in range(max(parts, default=-1) + 1)]


def films(settings: Settings, cameras: int, detector: str) -> Scene | None:
    """The clip of the demo for each of the first cameras of the store file; None without any."""
    if not cameras:
        return None
    known = [c.camera_id for b in load_stores(settings.stores_file).branches for c in b.cameras]
    if cameras > len(known):
        raise typer.BadParameter(f"the store file has {len(known)} cameras")
    clip, note = real_clip(settings)
    return Scene(note, dict.fromkeys(known[:cameras], clip), detector)


def frames_since(settings: Settings, start: datetime) -> dict[str, list[datetime]]:
    """Camera -> when its frames were taken, in the order of their index, as bronze has them."""
    with closing(Database(settings.postgres.dsn, 1)) as db, open_lake(settings) as lake:
        frames = FrameObserver(db, lake).bronze()
    taken: dict[str, list[datetime]] = defaultdict(list)
    for frame in frames:
        if frame.captured_at >= start:
            taken[frame.camera_id].append(frame.captured_at)
    return taken


def measure(
    deployment: Deployment, footage: Scene | None, rate: float, seconds: float, warm_up: float
) -> dict[str, Any]:
    """One run.

    Args:
        deployment: that runs.
        footage: what cameras play; None: no camera stream, either.
        rate: orders a minute.
        seconds: how long, the warm-up included.
        warm_up: seconds whose events are in no percentile.
    """
    settings = deployment.settings
    with ExitStack() as stack:
        begun = time.monotonic()
        streams = stack.enter_context(deployment.run_streams(*() if footage else ORDER_STREAMS))
        start_seconds = time.monotonic() - begun
        stack.enter_context(deployment.run_gateway())
        seen = Watch(settings, streams.pid, frames=True)
        camera = None
        if footage:
            camera = stack.enter_context(start_cameras(deployment, footage, seconds))
        send(settings, rate=rate, seconds=warm_up)
        cpu, begun, before = cpu_seconds(streams.pid), time.monotonic(), stream_states(settings)
        send(settings, rate=rate, seconds=seconds - warm_up)
        used, elapsed = cpu_seconds(streams.pid), time.monotonic() - begun
        after = stream_states(settings)
        filmed = camera.totals() if camera else {}
        wait_until(lambda: len(seen.lake.pairs) >= len(seen.postgres.pairs), 30, every=0.2)
        published = filmed.get("published", 0)
        wait_until(lambda: seen.footfall_lake.total() >= published, 30, every=0.2)
        seen.finish()
    warm, lake = seen.start + timedelta(seconds=warm_up), settings.catalog.format
    taken = frames_since(settings, seen.start) if footage else {}
    in_postgres = seen.footfall.latencies(taken)
    return {
        "footage": footage.note if footage else None,
        "start_seconds": round(start_seconds, 1),
        "postgres": seen.postgres.summary(warm),
        lake: seen.lake.summary(warm),
        "footfall_postgres": in_postgres.summary(warm),
        f"footfall_{lake}": seen.footfall_lake.latencies(taken).summary(warm),
        "frames": {name: filmed.get(name) for name in ("read", "published", "dropped")},
        "postgres_p95_by_10s": windows(seen.postgres, seen.start),
        f"{lake}_p95_by_10s": windows(seen.lake, seen.start),
        "footfall_postgres_p95_by_10s": windows(in_postgres, seen.start),
        "cores": {kind: round((used[kind] - spent) / elapsed, 2) for kind, spent in cpu.items()},
        "batches": {
            name: state["finished_batches"] - before[name]["finished_batches"]
            for name, state in after.items()
        },
        "peak_mib": seen.peak // 2**20,
    }


def main(
    *,
    rate: Annotated[float, typer.Option(min=10, help="Orders a minute.")] = 1000,
    seconds: Annotated[float, typer.Option(min=20)] = 120,
    warm_up: Annotated[float, typer.Option(min=0)] = 60,
    cameras: Annotated[int, typer.Option(min=0, help="0: no camera stream, either.")] = 1,
    detector: Annotated[str, typer.Option(help="As of storelake infer.")] = "motion",
    out: Out = None,
) -> None:
    """Measure once, in a fresh deployment, and print the JSON."""
    with fresh() as deployment:
        footage = films(deployment.settings, cameras, detector)
        found = measure(deployment, footage, rate, seconds, warm_up)
    load = {"rate": rate, "seconds": seconds, "warm_up": warm_up, "detector": detector}
    print_result({"load_given": {**load, "cameras": cameras}, **found}, out)


if __name__ == "__main__":
    typer.run(main)
