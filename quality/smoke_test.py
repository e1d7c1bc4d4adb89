"""The smoke test of a running deployment: send events, wait for them, reconcile, report."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import psycopg
from rich.text import Text

from conf.errors import StorelakeError
from conf.settings import Settings
from infra import local
from infra.local.poller import Poller
from infra.local.process import wait_until
from infra.local.readiness import gateway_ready
from infra.local.state_files import write_text
from infra.local.streams import stream_states
from infra.terminal_table import TextTable
from quality.order_observer import OrderObserver, RunStart
from quality.order_reconciliation import reconcile_orders
from simulator.ledger import Entry, SendReport, read_ledger
from simulator.plan import Plan
from simulator.send import send
from streaming.sinks.postgres import Database

PLACES = (
    ("sent", "messages, repeats and broken ones included"),
    ("in_kafka", "of them in Kafka, byte for byte; the gateway sends a repeat only once"),
    ("bronze", "in bronze.order_events"),
    ("silver", "in silver.orders"),
    ("quarantined", "in quarantine.order_events: the broken ones"),
    ("late", "in quarantine.late_events: good, and too late for their hour"),
    ("orders_raw", "event ids in orders_raw"),
    ("orders_processed", "orders in orders_processed, at their newest version"),
    ("orders_counted", "orders in order_metrics: those that were on time"),
    ("hours", "of branches, each in one currency, whose sums in order_metrics were compared"),
)
STREAMS = ("bronze_order_events", "order_event_processor", "real_time_metrics")
NEAR = timedelta(minutes=30)


class CheckError(StorelakeError):
    """The check cannot begin; the message names the command that is missing."""


@dataclass(frozen=True)
class CheckProgress:
    """Progress of a check."""

    sending: Callable[[SendReport], None]
    step: Callable[[str], None]
    stop: threading.Event


def require_running(settings: Settings) -> None:
    """Services, streams and gateway must run already.

    Raises:
        StorelakeError: one does not; with the command that starts it.
    """
    require_streams(settings, STREAMS)
    if not gateway_ready(settings):
        raise CheckError(
            f"The gateway is not ready at {settings.gateway.url}: start it, in another terminal "
            "with `storelake gateway`, or in the background with `storelake start`."
        )


def require_streams(settings: Settings, streams: Iterable[str]) -> None:
    """Services, and some streams, must run already.

    Raises:
        StorelakeError: one does not; with the command that starts it.
    """
    for service in local.status(settings):
        if service.state not in {"running", "external"}:
            raise CheckError(f"{service.name} does not run: start it with `storelake up`.")
    lacking = sorted(set(streams) - stream_states(settings).keys())
    if lacking:
        raise CheckError(
            f"These streams do not run: {', '.join(lacking)}. Start them, in another terminal with "
            "`storelake run`, or in the background with `storelake start`."
        )


def check(
    settings: Settings, plan: Plan, listener: CheckProgress, *, patience: float
) -> dict[str, Any]:
    """Send the plan's messages, wait until all have arrived, and account for them.

    The streams may die and start again meanwhile; services and gateway must run.

    Args:
        settings: the frozen tree, with the password of the database.
        plan: what to send.
        listener: receives progress.
        patience: seconds to wait after the last message was sent.

    Returns:
        The content of report.json, which is written beside ledger.ndjson in <var>/check.

    Raises:
        StorelakeError: the deployment does not run.
    """
    require_running(settings)
    folder = settings.var_dir / "check"
    ledger = folder / "ledger.ndjson"
    with closing(Database(settings.postgres.dsn, 2)) as db:
        start = RunStart.of_orders(settings)
        with _visible_since(settings) as seen:
            sent = send(
                settings,
                **asdict(plan),
                patience=patience,
                ledger=ledger,
                on_progress=listener.sending,
                late_from=lambda: watermark_is_near(settings, db),
                stop=listener.stop,
            )
            observer = OrderObserver(settings, db, start, read_ledger(ledger))
            behind = _wait(observer, listener, patience)
        listener.step("counting")
        found = reconcile_orders(observer.entries, observer.read())
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
    write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    return report


def watermark_is_near(settings: Settings, db: Database) -> bool:
    """Whether late events are late by now: order_metrics has seen something of this hour."""
    _, watermark = db.progress("real_time_metrics")
    now = datetime.now(timezone.utc)
    return watermark is not None and watermark >= now - settings.streams.watermark - NEAR


def _wait(observer: OrderObserver, listener: CheckProgress, patience: float) -> list[str]:
    """Wait until everything has arrived; returns the places that are still behind."""
    behind: list[str] = []

    def over() -> bool:
        behind[:] = observer.behind()
        listener.step(f"waiting for {', '.join(behind)}" if behind else "everything has arrived")
        return not behind or listener.stop.is_set()

    wait_until(over, patience, every=0.5)
    return behind


@contextmanager
def _visible_since(settings: Settings) -> Iterator[dict[str, datetime]]:
    """When each new event id was first visible in orders_raw, to another client of Postgres."""
    seen: dict[str, datetime] = {}

    def found(rows: Sequence[tuple[str, datetime]]) -> None:
        now = datetime.now(timezone.utc)
        seen.update((event_id, now) for event_id, _ in rows)

    poller = new_orders(settings, found)
    poller.start()
    try:
        yield seen
    finally:
        poller.finish()


def new_orders(
    settings: Settings, found: Callable[[Sequence[tuple[str, datetime]]], None]
) -> Poller:
    """A poller of orders_raw, ten times a second, as another client of Postgres."""
    connection = psycopg.connect(settings.postgres.dsn, autocommit=True)
    newest = connection.execute("SELECT coalesce(max(seq), 0) FROM orders_raw").fetchone()
    last = newest[0] if newest else 0

    def poll() -> None:
        nonlocal last
        rows = connection.execute(
            "SELECT seq, event_id, event_time FROM orders_raw WHERE seq > %s ORDER BY seq", (last,)
        ).fetchall()
        if rows:
            last = rows[-1][0]
            found([row[1:] for row in rows])

    return Poller("orders_raw", poll, 0.1)


def latency(entries: Sequence[Entry], seen: Mapping[str, datetime]) -> dict[str, float | None]:
    """p50 and p95 of the seconds from the creation of an event until it is visible."""
    made = {
        e.event_id: e.made_at for e in entries if e.outcome == "accepted" and not e.duplicate_of
    }
    values = [(seen[i] - at).total_seconds() for i, at in made.items() if i in seen]
    if not values:
        return {"p50": None, "p95": None}
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}


def summary(report: Mapping[str, Any]) -> TextTable:
    """The table that `storelake check` prints; the title has the result."""
    verdict = Text("ok", "bold green") if report["ok"] else Text("not ok", "bold red")
    title = Text.assemble(f"check {report['run_id']}: ", verdict)
    rows: list[tuple[str, str | Text, str]] = [
        (name.replace("_", " "), f"{report[name]:,}", meaning) for name, meaning in PLACES
    ]
    for name, meaning in (
        ("missing", "messages that are not at every place where they belong"),
        ("duplicated", "positions, events or orders that are somewhere twice"),
    ):
        number = Text(f"{report[name]:,}", "bold red" if report[name] else "bold green")
        rows.append((name, number, meaning))
    latency = report["latency_seconds"]
    for name in ("p50", "p95"):
        seconds = "-" if latency[name] is None else f"{latency[name]:.2f} s"
        rows.append((f"latency {name}", seconds, "from the till to a reader of orders_raw"))
    names = ("what", "found", "meaning")
    return TextTable(names, rows, numbers=("found",), prose=("what", "meaning"), title=title)
