"""`make verify-lake`: the lake of the full profile, maintained while streams write to it.

Two days of a chain and a live stretch pass through a fresh deployment on MinIO, which must balance
at the end although maintenance ran beside the streams. Then it is validated, and queried with the
dozen questions on three engines; rows are deleted and filled again from bronze; and its topics are
written to Delta, twice.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import chain
from pathlib import Path
from typing import Any

from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan

from conf.settings import Settings
from conf.stores import load_stores
from infra.local.streams import stream_states
from quality.backfill import run_backfill
from quality.engines import Engines
from quality.run import ValidationPlan, run_quality
from queries.ask import questions
from simulator.history import HOUR, Span, frame_history
from simulator.orders import as_json
from simulator.send import send
from streaming.lake.formats import open_lake
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.tables import QUALITY_MAINTENANCE_RUNS, SILVER_ORDERS
from streaming.sinks.postgres import Database
from verification.demo.account import Auditor, DemoAccount
from verification.deployment import Deployment
from verification.history import FILMED, ONE_BATCH, History, this_hour
from verification.lake.delta import rows_of, write_delta
from verification.lake.engine_comparison import compare_engines
from verification.lake.maintenance_report import maintenance
from verification.processes import STOP_SECONDS
from verification.quality.fault_injection import late_burst

HISTORY = timedelta(days=2)  # long enough for an order to be stuck
BLIND = ("B02-entrance", timedelta(hours=1, minutes=10), timedelta(minutes=7))
LIVE_CAMERAS = ("B01-entrance", "B02-entrance")
LIVE_RATE, POISON = 240.0, 0.03  # order events a minute, and the share that is broken
MAINTAIN_EVERY = "20s"
CATCH_UP_SECONDS = 180.0


@dataclass
class Live:
    """The live stretch.

    Attributes:
        start, end: of it, UTC; messages came within.
        account: of its orders and frames.
        maintenance: see `maintenance_report.maintenance`.
    """

    start: datetime
    end: datetime
    account: DemoAccount
    maintenance: dict[str, Any]


def verify(deployment: Deployment, *, minutes: float, seed: int) -> dict[str, Any]:
    """Run it all in a deployment.

    Args:
        deployment: fresh, in the profile `full`, with Pulsar.
        minutes: how long streams write beside maintenance.
        seed: of the history and of the live orders.

    Returns:
        The figures, `faults` (one sentence for each thing that does not hold) and `ok`.

    Raises:
        StorelakeError: a program did not start or died by itself.
    """
    settings = deployment.settings
    history = History(deployment, seed)
    _send_past(history)
    live = _live(history, minutes)
    faults = live.account.faults + live.maintenance.pop("faults")
    formats = [] if live.account.faults else ["iceberg"]
    with closing(Engines(settings)) as engines:
        deployment.step("validating")
        run = run_quality(settings, ValidationPlan(), deployment.step, engines=engines)
        faults += [f"{r.id} fails: {r.says}" for r in run.failures if r.severity == "critical"]
        unequal = compare_engines(deployment)
        faults += unequal.values()
        deleted, equal = _backfill(deployment, live, engines)
    if not equal:
        faults.append(f"a backfill of {deleted} rows is not equal to what the stream had written")
    if delta := write_delta(deployment):
        faults += delta
    else:
        formats.append("delta")
    return {
        "ok": not faults,
        "questions_equal": len(questions()) - len(unequal),
        "formats": formats,
        "maintenance": live.maintenance,
        "backfill_equal": equal,
        "backfilled_rows": deleted,
        "orders": live.account.orders,
        "detections": live.account.detections,
        "faults": faults,
    }


def _send_past(history: History) -> None:
    """Two days of orders, one of them stuck, and some hours of frames, one camera blind."""
    history.deployment.step("two days of orders")
    now = this_hour()
    orders = history.orders(Span(now - HISTORY, now), "past")
    first = next(orders)
    kept = (event for event in orders if event.order_id != first.order_id)
    history.send_orders(chain((first,), kept), on_time=False)
    camera, after, how_long = BLIND
    blind = now - FILMED + after
    history.send_frames(
        Span(now - FILMED, now),
        "past",
        lambda name, at: name != camera or not blind <= at < blind + how_long,
    )


def _live(history: History, minutes: float) -> Live:
    """Run the streams on the history, then a live stretch beside maintenance."""
    deployment = history.deployment
    settings = deployment.settings
    with (
        deployment.run_streams(**ONE_BATCH) as streams,
        deployment.run_gateway(),
        closing(Database(settings.postgres.dsn, 2)) as db,
    ):
        history.wait(streams)
        now = this_hour()
        orders = list(history.orders(Span(now - HOUR, now), "late"))
        history.send_orders(late_burst(orders, now - 6 * HOUR, now), on_time=False)
        history.wait(streams)
        auditor = Auditor(_with_pulsar_cameras(settings), db)
        start = datetime.now(timezone.utc)
        with deployment.run("maintain", "maintain", "--every", MAINTAIN_EVERY) as beside:
            ledger, published = _send_live(deployment, minutes, history.seed)
            beside.require_alive()
        account = auditor.reconcile(deployment, streams, [ledger], published, CATCH_UP_SECONDS)
        states = stream_states(settings)
    with open_lake(settings) as lake:
        runs = lake.read(QUALITY_MAINTENANCE_RUNS.name).to_pylist()
    logs = [settings.var_dir / "logs" / f"{name}.log" for name in ("streams", "maintain")]
    figures = {"minutes": minutes, **maintenance(runs, states, logs)}
    return Live(start, datetime.now(timezone.utc), account, figures)


def _with_pulsar_cameras(settings: Settings) -> Settings:
    chosen = settings.inference.model_copy(update={"publisher": "pulsar"})
    return settings.model_copy(update={"inference": chosen})


def _send_live(deployment: Deployment, minutes: float, seed: int) -> tuple[Path, int]:
    """Orders to the gateway, two cameras to Pulsar; returns the ledger and the frames."""
    settings, folder = deployment.settings, deployment.settings.var_dir / "check"
    recording, ledger = folder / "cameras.ndjson", folder / "ledger.ndjson"
    now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    filmed = frame_history(
        load_stores(settings.stores_file), Span(now, now + timedelta(minutes=minutes)), run_id="now"
    )
    lines = [as_json(frame) for frame in filmed if frame["camera_id"] in LIVE_CAMERAS]
    folder.mkdir(parents=True, exist_ok=True)
    recording.write_bytes(b"\n".join(lines))
    replay = ("replay", str(recording), "--shift-to-now", "--broker", "pulsar")
    with deployment.run("cameras", *replay) as cameras:
        send(
            settings,
            rate=LIVE_RATE,
            seconds=60 * minutes,
            poison=POISON,
            seed=seed,
            ledger=ledger,
            on_progress=lambda report: (
                None if report.sent % 50 else deployment.step(f"{report.sent} order events sent")
            ),
        )
        if cameras.wait(STOP_SECONDS):
            cameras.require_alive()
    return ledger, len(lines)


def _backfill(deployment: Deployment, live: Live, engines: Engines) -> tuple[int, bool]:
    """Delete the rows of silver.orders of the live stretch, and fill them again.

    Returns:
        How many rows were deleted, and whether the table is as before.
    """
    settings, name = deployment.settings, SILVER_ORDERS.name
    window = And(
        GreaterThanOrEqual(term="timestamp", value=live.start.isoformat()),
        LessThan(term="timestamp", value=live.end.isoformat()),
    )
    before = rows_of(settings, name)
    with closing(open_catalog(settings)) as catalog:
        IcebergLake(settings, catalog).load(SILVER_ORDERS).delete(window)
    deleted = len(before) - len(rows_of(settings, name))
    done = run_backfill(settings, name, live.start, live.end, deployment.step, engines=engines)
    return deleted, deleted > 0 and done.published and rows_of(settings, name) == before
