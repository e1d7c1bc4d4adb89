"""`send`: replay the shop as events at a given rate, poison included, and account for every one."""

from __future__ import annotations

import asyncio
import math
import random
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Event
from typing import Literal, TypeAlias
from uuid import uuid4

from conf.settings import Settings
from conf.stores import load_stores
from simulator.baskets import read_baskets
from simulator.ledger import Delivery, Ledger, SendReport
from simulator.orders import LIFE_SECONDS, OrderEvent, Shop
from simulator.poison import Poisoned, draw_way, poison
from simulator.transport import GatewayTransport, KafkaTransport, topic_of

_Queue: TypeAlias = "asyncio.Queue[OrderEvent]"
Via = Literal["gateway", "kafka"]
PROGRESS_SECONDS = 0.1
UNPACED_SLOT = 0.001  # shop seconds between two events when nobody asks for a rate


@dataclass(frozen=True)
class Plan:
    """How much, how fast, how much of it broken."""

    rate: float | None
    count: int | None
    seconds: float | None
    poison: float
    seed: int

    @property
    def total(self) -> int | None:
        """How many messages, where that is known before."""
        if self.count is None and self.rate and self.seconds:
            return max(1, int(self.rate * self.seconds / 60))
        return self.count

    @property
    def slot(self) -> float:
        """Shop seconds per message: real ones when there is a rate."""
        return 60 / self.rate if self.rate else UNPACED_SLOT

    @property
    def life_seconds(self) -> float:
        """The span of an order's life, short enough that most of them end within the run."""
        span = self.total * self.slot if self.total else self.seconds or math.inf
        return min(LIFE_SECONDS, 0.4 * span)


def send(
    settings: Settings,
    *,
    rate: float | None = None,
    count: int | None = None,
    seconds: float | None = None,
    poison: float = 0.0,
    seed: int = 1,
    run_id: str | None = None,
    via: Via = "gateway",
    url: str | None = None,
    concurrency: int = 16,
    patience: float = 60.0,
    ledger: Path | None = None,
    on_progress: Callable[[SendReport], None] | None = None,
    stop: Event | None = None,
) -> SendReport:
    """Send order events, and return when each of them is accounted for.

    Args:
        settings: the frozen tree (`kafka`, `gateway`, `stores_file`).
        rate: messages a minute; as fast as it goes without one.
        count: stop after so many messages, poison included.
        seconds: stop after so long. With neither, `stop` ends the run.
        poison: share of the messages that are broken, 0..1. They go straight to Kafka.
        seed: which baskets, lives and poison; the same seed repeats the same run.
        run_id: keeps identifiers of two runs apart; a random one by default.
        via: how good events go out.
        url: of the gateway; from the settings by default.
        concurrency: how many requests at once; events of one order keep their order.
        patience: how many seconds one message is tried before it counts as failed.
        ledger: NDJSON file that gets one line per message.
        on_progress: hears the totals about ten times a second.
        stop: set it from another thread to end the run early.
    """
    plan = Plan(rate, count, seconds, poison, seed)
    run_id, stop = run_id or uuid4().hex[:8], stop or Event()
    shop = _open_shop(settings, plan, run_id)
    with Ledger(ledger, run_id) as book:
        sender = _Sender(settings, plan, shop=shop, book=book, stop=stop)
        sender.on_progress = on_progress or sender.on_progress
        started = time.monotonic()
        gateway = None
        if via == "gateway":
            gateway = GatewayTransport(
                settings, url=url, connections=concurrency, patience=patience, stop=stop
            )
        asyncio.run(sender.run(gateway, concurrency, patience))
        book.report.seconds = time.monotonic() - started
    sender.on_progress(book.report)
    return book.report


def _open_shop(settings: Settings, plan: Plan, run_id: str) -> Shop:
    branches = load_stores(settings.stores_file).branches
    return Shop(
        read_baskets(start=plan.seed),
        [(branch.branch_id, branch.currency) for branch in branches],
        seed=plan.seed,
        run_id=run_id,
        clock=lambda: datetime.now(timezone.utc),
        life_seconds=plan.life_seconds,
    )


class _Sender:
    """One run: paces the shop, and hands each event to the worker of its order."""

    def __init__(
        self, settings: Settings, plan: Plan, *, shop: Shop, book: Ledger, stop: Event
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._shop = shop
        self._book = book
        self._stop = stop
        # Apart from the shop's own: the good events do not depend on which slots are poisoned.
        self._rng = random.Random(f"poison-{plan.seed}")  # noqa: S311 - replayable, not secret
        self._told = 0.0
        self.on_progress: Callable[[SendReport], None] = lambda _: None

    async def run(
        self, gateway: GatewayTransport | None, concurrency: int, patience: float
    ) -> None:
        """Send until the plan is fulfilled, then wait for what is under way."""
        direct = None
        if gateway is None or self._plan.poison > 0:
            direct = KafkaTransport(self._settings.kafka, patience)
        # Short queues: an event carries the time when it was made, so it should leave at once.
        queues: list[_Queue] = [
            asyncio.Queue[OrderEvent](4) for _ in range(concurrency if gateway else 0)
        ]
        tasks = [asyncio.create_task(self._work(queue, gateway)) for queue in queues if gateway]
        tasks.append(asyncio.create_task(self._send_all(queues, direct)))
        try:
            # Workers never end by themselves: what is done first is the plan, or an error.
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            if gateway is not None:
                await gateway.close()

    async def _send_all(self, queues: list[_Queue], direct: KafkaTransport | None) -> None:
        await self._pace(queues, direct)
        await asyncio.gather(*(queue.join() for queue in queues))
        if direct is not None:
            await direct.drain()

    async def _pace(self, queues: list[_Queue], direct: KafkaTransport | None) -> None:
        plan, started, number = self._plan, time.monotonic(), 0
        while not self._stop.is_set() and (plan.total is None or number < plan.total):
            ahead = started + number * plan.slot - time.monotonic() if plan.rate else 0.0
            await asyncio.sleep(max(0.0, min(ahead, PROGRESS_SECONDS)))
            if plan.seconds is not None and time.monotonic() - started > plan.seconds:
                return
            self._tell()
            if direct is not None:
                direct.poll()
            if ahead <= PROGRESS_SECONDS:  # else: a long pause, taken in naps to notice `stop`
                await self._send_one(number, queues, direct)
                number += 1

    async def _send_one(
        self,
        number: int,
        queues: list[_Queue],
        direct: KafkaTransport | None,
    ) -> None:
        if direct is not None and self._rng.random() < self._plan.poison:
            event = self._shop.stray_event()
            bad = poison(event, draw_way(self._rng), self._rng)
            await self._send_direct(direct, event, bad)
            return
        left = None
        if self._plan.total is not None:
            left = math.ceil((self._plan.total - number) * (1 - self._plan.poison))
        event = self._shop.next_event(number * self._plan.slot, left)
        if queues:  # one worker per order: its events follow one another
            await queues[zlib.crc32(event.key) % len(queues)].put(event)
        elif direct is not None:
            await self._send_direct(direct, event, None)

    async def _send_direct(
        self, direct: KafkaTransport, event: OrderEvent, bad: Poisoned | None
    ) -> None:
        def done(delivery: Delivery) -> None:
            self._book.note(event, delivery, bad)

        key, value = (bad.key, bad.value) if bad else (event.key, event.value)
        await direct.send(topic_of(event.event_type, self._settings.kafka), key, value, done)

    async def _work(self, queue: _Queue, gateway: GatewayTransport) -> None:
        while True:
            event = await queue.get()
            self._book.note(event, await gateway.deliver(event))
            queue.task_done()
            self._tell()

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= PROGRESS_SECONDS:
            self._told = now
            self.on_progress(self._book.report)
