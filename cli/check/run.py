"""One check on a running house: send, follow, count."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from cli.processes import gateway_ready, gateway_url, stream_states
from cli.watch import Watcher
from conf.errors import StorelakeError
from conf.settings import Settings
from infra import local
from infra.local.process import wait_until
from quality.order_observer import OrderObserver, RunStart
from quality.order_reconciliation import reconcile_orders
from simulator.ledger import Entry, SendReport, read_ledger
from simulator.plan import Plan
from simulator.send import send
from streaming.sinks.postgres import Database

STREAMS = ("bronze_order_events", "order_event_processor", "real_time_metrics")
NEAR = timedelta(minutes=30)


class CheckError(StorelakeError):
    """The check cannot begin; the message names the command that is missing."""


@dataclass(frozen=True)
class Listener:
    """Who hears how the check goes on: the totals while it sends, then what it waits for."""

    sending: Callable[[SendReport], None]
    tell: Callable[[str], None]
    stop: threading.Event


def require_house(settings: Settings) -> None:
    """Services, streams and gateway must run already.

    Raises:
        StorelakeError: one does not; with the command that starts it.
    """
    for service in local.status(settings):
        if service.state not in {"running", "external"}:
            raise CheckError(f"{service.name} does not run: start it with `storelake up`.")
    lacking = sorted(set(STREAMS) - stream_states(settings).keys())
    if lacking:
        raise CheckError(
            f"These streams do not run: {', '.join(lacking)}. Start them, in another terminal with "
            "`storelake run`, or in the background with `storelake start`."
        )
    if not gateway_ready(settings):
        raise CheckError(
            f"The gateway is not ready at {gateway_url(settings)}: start it, in another terminal "
            "with `storelake gateway`, or in the background with `storelake start`."
        )


def check(settings: Settings, plan: Plan, listener: Listener, *, patience: float) -> dict[str, Any]:
    """Send the plan's messages, wait until all have arrived, and account for them.

    The streams may die and come back meanwhile; services and gateway stay.

    Args:
        settings: the frozen tree, with the password of the database.
        plan: what to send.
        listener: hears how it goes on; its `stop` ends the sending early.
        patience: seconds to wait after the last message was sent.

    Returns:
        The content of report.json, which is written beside ledger.ndjson in <var>/check.

    Raises:
        StorelakeError: the house does not run.
    """
    require_house(settings)
    folder = settings.var_dir / "check"
    ledger = folder / "ledger.ndjson"
    db = Database(settings.postgres.dsn, 2)
    try:
        start = RunStart.of_orders(settings)
        with _sightings(settings) as seen:
            sent = send(
                settings,
                **asdict(plan),
                patience=patience,
                ledger=ledger,
                on_progress=listener.sending,
                late_from=lambda: _watermark_is_near(settings, db),
                stop=listener.stop,
            )
            observer = OrderObserver(settings, db, start, read_ledger(ledger))
            behind = _wait(observer, listener, patience)
        listener.tell("counting")
        found = reconcile_orders(observer.entries, observer.read())
    finally:
        db.close()
    unmet = [f"not everything after {patience:.0f} s in: {', '.join(behind)}"] if behind else []
    unmet += ["the check was interrupted"] if listener.stop.is_set() else []
    report = {
        **found.numbers,
        "latency_seconds": latency(observer.entries, seen),
        "ok": found.ok and not unmet,
        "faults": [*found.faults, *unmet],
        "run_id": sent.run_id,
        "started_at": start.at.isoformat(),
        "sending_seconds": round(sent.seconds, 1),
        "seconds": round((datetime.now(timezone.utc) - start.at).total_seconds(), 1),
        "plan": asdict(plan),
    }
    _write(report, folder / "report.json")
    return report


def _watermark_is_near(settings: Settings, db: Database) -> bool:
    """Whether late events are late by now: order_metrics has seen something of this hour."""
    _, watermark = db.progress("real_time_metrics")
    now = datetime.now(timezone.utc)
    return watermark is not None and watermark >= now - settings.streams.watermark - NEAR


def _wait(observer: OrderObserver, listener: Listener, patience: float) -> list[str]:
    """Until everything has arrived, or nobody wants to wait; returns where it has not."""
    behind: list[str] = []

    def over() -> bool:
        behind[:] = observer.behind()
        listener.tell(f"waiting for {', '.join(behind)}" if behind else "everything has arrived")
        return not behind or listener.stop.is_set()

    wait_until(over, patience, every=0.5)
    return behind


@contextmanager
def _sightings(settings: Settings) -> Iterator[dict[str, datetime]]:
    """A second client of Postgres, ten times a second: when each new event id was first there."""
    seen: dict[str, datetime] = {}
    with psycopg.connect(settings.postgres.dsn, autocommit=True) as connection:
        newest = connection.execute("SELECT coalesce(max(seq), 0) FROM orders_raw").fetchone()
        last = newest[0] if newest else 0

        def look() -> None:
            nonlocal last
            rows = connection.execute(
                "SELECT seq, event_id FROM orders_raw WHERE seq > %s ORDER BY seq", (last,)
            ).fetchall()
            now = datetime.now(timezone.utc)
            seen.update((event_id, now) for _, event_id in rows)
            last = rows[-1][0] if rows else last

        watcher = Watcher("sightings", look, 0.1)
        watcher.start()
        try:
            yield seen
        finally:
            watcher.finish()


def latency(entries: Sequence[Entry], seen: Mapping[str, datetime]) -> dict[str, float | None]:
    """p50 and p95 of the seconds from a till that makes an event to a reader that sees it."""
    made = {
        e.event_id: e.made_at for e in entries if e.outcome == "accepted" and not e.duplicate_of
    }
    values = [(seen[i] - at).total_seconds() for i, at in made.items() if i in seen]
    if not values:
        return {"p50": None, "p95": None}
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}


def _write(report: Mapping[str, Any], path: Path) -> None:
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)
