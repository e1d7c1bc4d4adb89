"""`send_on_time`: events with times of their own, sent through the gateway when they happen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from threading import Event

from conf.settings import Settings
from simulator.ledger import Ledger, SendReport
from simulator.orders import SimulatedOrderEvent
from simulator.transport import GatewayTransport

NAP_SECONDS = 0.1


def send_on_time(
    settings: Settings,
    events: Iterable[SimulatedOrderEvent],
    *,
    ledger: Path,
    run_id: str,
    patience: float = 60.0,
    on_progress: Callable[[SendReport], None] = lambda _: None,
    stop: Event | None = None,
) -> SendReport:
    """Send each event at its `made_at`, one after another, at once when that has passed.

    Args:
        settings: the frozen tree (`gateway`, `kafka`).
        events: in the order of time.
        ledger: NDJSON file that gets one line per event.
        run_id: of the ledger.
        patience: how many seconds one event is tried before it counts as failed.
        on_progress: called with the totals after each event.
        stop: set it from another thread to end early; what was not sent is in no ledger.
    """
    over = stop or Event()

    async def play(book: Ledger) -> None:
        gateway = GatewayTransport(settings, url=None, connections=1, patience=patience, stop=over)
        try:
            for event in events:
                while (now := datetime.now(timezone.utc)) < event.made_at and not over.is_set():
                    ahead = (event.made_at - now).total_seconds()
                    await asyncio.sleep(min(ahead, NAP_SECONDS))
                if over.is_set():
                    return
                book.note(event, await gateway.deliver(event))
                on_progress(book.report)
        finally:
            await gateway.close()

    with Ledger(ledger, run_id) as book:
        asyncio.run(play(book))
        return book.report
