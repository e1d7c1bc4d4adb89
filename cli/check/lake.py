"""`storelake verify-lake`: the lake of the full profile, kept healthy while streams write to it.

Two days of a chain and a live stretch go through a fresh house on MinIO, which must end balanced
although maintenance ran beside the streams. Then it is judged, and asked the dozen questions on
three engines; rows are lost and filled again from bronze; and its topics go into Delta, twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan

from cli import processes
from cli.check import past, plants
from cli.check.answers import ask_all
from cli.check.delta import into_delta, rows_of
from cli.check.house import House, Tell, fresh_house
from cli.check.upkeep import maintenance
from cli.demo.account import Auditor, DemoAccount
from conf.settings import Settings
from conf.stores import load_stores
from infra.local.process import wait_until
from quality.backfill import run_backfill
from quality.engines import Engines
from quality.run import Plan, run_quality
from queries.ask import questions
from simulator.history import HOUR, Span, frame_history, order_history
from simulator.orders import OrderEvent, as_json
from simulator.send import send
from streaming.lake.formats import open_lake, require_iceberg
from streaming.lake.iceberg.lake import IcebergLake, open_catalog
from streaming.lake.tables import QUALITY_MAINTENANCE_RUNS, SILVER_ORDERS
from streaming.sinks.postgres import Database

PAST = timedelta(days=2)  # long enough for an order to be stuck
FILMED = 3 * HOUR
ORDERS_AN_HOUR = 10.0  # of each branch
BLIND = ("B02-entrance", timedelta(hours=1, minutes=10), timedelta(minutes=7))
LIVE_CAMERAS = ("B01-entrance", "B02-entrance")
TRICKLE, POISON = 240.0, 0.03  # order events a minute, and the share that is broken
MAINTAIN_EVERY = "20s"
SETTLE_SECONDS = 180.0


@dataclass
class Lived:
    """What came of the live stretch.

    Attributes:
        start, end: of it, UTC; messages came within.
        account: of its orders and frames.
        maintenance: see `upkeep.maintenance`.
    """

    start: datetime
    end: datetime
    account: DemoAccount
    maintenance: dict[str, Any]


def verify(base: Settings, *, minutes: float, seed: int, tell: Tell) -> dict[str, Any]:
    """Run the whole proof; nothing goes on afterwards, however it ends.

    Args:
        base: of the operator, in the profile `full`; its services get ports of their own.
        minutes: how long streams write beside maintenance.
        seed: of the history and of the live orders.
        tell: hears what goes on.

    Returns:
        The figures, `faults` (one sentence for each thing that does not hold) and `ok`.

    Raises:
        StorelakeError: something did not come up or died by itself.
    """
    require_iceberg(base, "The proof of the lake, which brings Delta in by itself,")
    started = time.monotonic()
    with fresh_house(base, "verify-lake", tell, pulsar=True) as house:
        result = _prove(house, minutes, seed, tell)
        house.keep = not result["ok"]
    return {**result, "seconds": round(time.monotonic() - started, 1)}


def _prove(house: House, minutes: float, seed: int, tell: Tell) -> dict[str, Any]:
    settings = house.settings
    frames = _send_past(settings, seed, tell)
    lived = _live(house, frames, minutes, seed, tell)
    faults = lived.account.faults + lived.maintenance.pop("faults")
    formats = [] if lived.account.faults else ["iceberg"]
    with closing(Engines(settings)) as engines:
        tell("validating")
        judged = run_quality(settings, Plan(), tell, engines=engines)
        faults += [f"{r.id} fails: {r.says}" for r in judged.failures if r.severity == "critical"]
        unequal = ask_all(settings, tell)
        faults += unequal.values()
        lost, equal = _backfill(settings, lived, engines, tell)
    if not equal:
        faults.append(f"a backfill of {lost} rows is not equal to what the stream had written")
    if delta := into_delta(house, tell):
        faults += delta
    else:
        formats.append("delta")
    return {
        "ok": not faults,
        "questions_equal": len(questions()) - len(unequal),
        "formats": formats,
        "maintenance": lived.maintenance,
        "backfill_equal": equal,
        "backfilled_rows": lost,
        "orders": lived.account.orders,
        "detections": lived.account.detections,
        "faults": faults,
    }


def _send_past(settings: Settings, seed: int, tell: Tell) -> int:
    """Two days of orders, one of them forgotten, and some hours of frames; returns how many."""
    tell("two days of orders")
    now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    stores = load_stores(settings.stores_file)
    span = Span(now - PAST, now)
    told = order_history(stores.branches, span, mean=ORDERS_AN_HOUR, seed=seed, run_id="past")
    past.send_orders(settings, _forget_the_first(told), on_time=False)
    return past.send_frames(settings, _film(settings, Span(now - FILMED, now)))


def _forget_the_first(events: Iterator[OrderEvent]) -> Iterator[OrderEvent]:
    """All events, but for what became of the first order."""
    first = next(events)
    yield first
    yield from (event for event in events if event.order_id != first.order_id)


def _film(settings: Settings, span: Span) -> Iterator[dict[str, Any]]:
    """All frames, but for some minutes of one camera."""
    camera, after, how_long = BLIND
    gone = span.start + after
    for frame in frame_history(load_stores(settings.stores_file), span, run_id="past"):
        at = datetime.fromisoformat(frame["captured_at"].replace("Z", "+00:00"))
        if frame["camera_id"] != camera or not gone <= at < gone + how_long:
            yield frame


def _live(house: House, frames: int, minutes: float, seed: int, tell: Tell) -> Lived:
    """The streams, from their start on the past to the end of a live stretch."""
    settings = house.settings
    with ExitStack() as stack:
        streams = processes.start_streams(
            stack, settings, tell, (), house.environment | past.ENVIRONMENT
        )
        processes.start_gateway(stack, settings, house.environment)
        past.settle(settings, frames, streams, tell)
        _send_late(settings, seed)
        past.settle(settings, frames, streams, tell)
        db = stack.enter_context(closing(Database(settings.postgres.dsn, 2)))
        auditor = Auditor(_with_pulsar_cameras(settings), db)
        start = datetime.now(timezone.utc)
        with ExitStack() as beside:
            upkeep = beside.enter_context(
                processes.process(
                    "maintain", ["maintain", "--every", MAINTAIN_EVERY], settings, house.environment
                )
            )
            ledger, published = _trickle(beside, house, minutes, seed, tell)
            processes.require_alive(upkeep, "maintain", settings)
        tell("waiting until every stream has caught up")
        orders = auditor.follow(ledger)
        arrived = wait_until(
            lambda: auditor.has_arrived(orders, published), SETTLE_SECONDS, every=1.0
        )
        processes.require_alive(streams, "streams", settings)
        states = processes.stream_states(settings)
        tell("counting")
        account = auditor.account(orders, published)
    if not arrived:
        account.faults.append(f"the streams have not caught up in {SETTLE_SECONDS:.0f} s")
    with open_lake(settings) as lake:
        runs = lake.read(QUALITY_MAINTENANCE_RUNS.name).to_pylist()
    logs = [settings.var_dir / "logs" / f"{name}.log" for name in ("streams", "maintain")]
    kept = {"minutes": minutes, **maintenance(runs, states, logs)}
    return Lived(start, datetime.now(timezone.utc), account, kept)


def _send_late(settings: Settings, seed: int) -> None:
    """Orders of hours that are over, sent now."""
    now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    stores = load_stores(settings.stores_file)
    told = order_history(
        stores.branches, Span(now - HOUR, now), mean=ORDERS_AN_HOUR, seed=seed, run_id="late"
    )
    late = plants.late_burst(list(told), now - 6 * HOUR, now)
    past.send_orders(settings, late, on_time=False)


def _with_pulsar_cameras(settings: Settings) -> Settings:
    chosen = settings.inference.model_copy(update={"publisher": "pulsar"})
    return settings.model_copy(update={"inference": chosen})


def _trickle(
    stack: ExitStack, house: House, minutes: float, seed: int, tell: Tell
) -> tuple[Path, int]:
    """Orders by the gateway, and two cameras over Pulsar; returns the ledger and the frames."""
    settings = house.settings
    folder = settings.var_dir / "check"
    recording = folder / "cameras.ndjson"
    now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
    filmed = frame_history(
        load_stores(settings.stores_file), Span(now, now + timedelta(minutes=minutes)), run_id="now"
    )
    lines = [as_json(frame) for frame in filmed if frame["camera_id"] in LIVE_CAMERAS]
    folder.mkdir(parents=True, exist_ok=True)
    recording.write_bytes(b"\n".join(lines))
    cameras = stack.enter_context(
        processes.process(
            "cameras",
            ["replay", str(recording), "--shift-to-now", "--broker", "pulsar"],
            settings,
            house.environment,
        )
    )
    ledger = folder / "ledger.ndjson"
    send(
        settings,
        rate=TRICKLE,
        seconds=60 * minutes,
        poison=POISON,
        seed=seed,
        ledger=ledger,
        on_progress=lambda sent: (
            tell(f"{sent.sent} order events sent") if not sent.sent % 50 else None
        ),
    )
    if cameras.wait(processes.STOP_SECONDS):
        processes.require_alive(cameras, "cameras", settings)
    return ledger, len(lines)


def _backfill(settings: Settings, lived: Lived, engines: Engines, tell: Tell) -> tuple[int, bool]:
    """Lose what silver.orders got in the live stretch, and fill it again.

    Returns:
        How many rows were lost, and whether the table is as it was.
    """
    window = And(
        GreaterThanOrEqual(term="timestamp", value=lived.start.isoformat()),
        LessThan(term="timestamp", value=lived.end.isoformat()),
    )
    before = rows_of(settings, SILVER_ORDERS.name)
    with closing(open_catalog(settings)) as catalog:
        IcebergLake(settings, catalog).load(SILVER_ORDERS).delete(window)
    lost = len(before) - len(rows_of(settings, SILVER_ORDERS.name))
    done = run_backfill(settings, SILVER_ORDERS.name, lived.start, lived.end, tell, engines=engines)
    equal = lost > 0 and done.published and rows_of(settings, SILVER_ORDERS.name) == before
    return lost, equal
