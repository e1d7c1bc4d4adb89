"""`send`: replay the shop as events at a given rate, and account for every message.

Some of it may be out of the ordinary: broken messages, events that come too late to count, and
events that are sent again, byte for byte (`plan.Plan`).
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Event
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from conf.contracts.topics import event_topics
from conf.settings import Settings
from conf.stores import load_stores
from simulator.ledger import Delivery, Ledger, SendReport
from simulator.orders import Shop, SimulatedOrderEvent
from simulator.plan import Plan, draw_age
from simulator.poison import draw_way
from simulator.poison import poison as break_event
from simulator.transport import GatewayTransport, KafkaTransport

Via = Literal["gateway", "kafka"]
PROGRESS_SECONDS = 0.1
REPEATABLE = 1000
"""A duplicate repeats one of so many last events, so that it may come batches later."""


@dataclass
class _Parcel:
    """An event on its way.

    Attributes:
        late: its event time is too long ago to count.
        first: the parcel whose event this one repeats.
        straight: a repeat that is sent to Kafka past the gateway, as a foreign producer sends.
        taken: the broker has it.
    """

    event: SimulatedOrderEvent
    late: bool = False
    first: _Parcel | None = None
    straight: bool = False
    taken: bool = False

    @property
    def duplicate(self) -> bool:
        """Whether it repeats an event that was taken; else it is a first try after all."""
        return self.first is not None and self.first.taken


_Queue: TypeAlias = "asyncio.Queue[_Parcel]"


def send(
    settings: Settings,
    *,
    branches: Sequence[str] = (),
    run_id: str | None = None,
    via: Via = "gateway",
    url: str | None = None,
    concurrency: int = 16,
    patience: float = 60.0,
    ledger: Path | None = None,
    on_progress: Callable[[SendReport], None] | None = None,
    late_from: Callable[[], bool] | None = None,
    stop: Event | None = None,
    **fields: Any,
) -> SendReport:
    """Send order events, and return when each of them is accounted for.

    Broken messages, and every other repeat, are sent straight to Kafka, as a foreign producer
    sends. A plan without `count` and `seconds` is ended by `stop`.

    Args:
        settings: the frozen tree (`kafka`, `gateway`, `streams`, `stores_file`).
        branches: who sells; all of the store file without any.
        run_id: keeps identifiers of two runs apart; a random one by default.
        via: how good events go out.
        url: of the gateway; from the settings by default.
        concurrency: how many requests at once; events of one order keep their order.
        patience: how many seconds one message is tried before it counts as failed.
        ledger: NDJSON file that gets one line per message.
        on_progress: called with the totals about ten times a second.
        late_from: whether late events would be late by now; sending pauses before the first one
            until it returns true. Called in another thread.
        stop: set it from another thread to end the run early.
        **fields: of the `Plan`.
    """
    plan = Plan(**fields)
    run_id, stop = run_id or uuid4().hex[:8], stop or Event()
    shop = _open_shop(settings, plan, run_id, branches)
    with Ledger(ledger, run_id) as book:
        notify = on_progress or (lambda _: None)
        sender = _Sender(settings, plan, shop, book, stop, notify, late_from)
        started = time.monotonic()
        gateway = None
        if via == "gateway":
            gateway = GatewayTransport(
                settings, url=url, connections=concurrency, patience=patience, stop=stop
            )
        asyncio.run(sender.run(gateway, concurrency, patience))
        book.report.seconds = time.monotonic() - started
    notify(book.report)
    return book.report


def _open_shop(settings: Settings, plan: Plan, run_id: str, wanted: Sequence[str]) -> Shop:
    branches = load_stores(settings.stores_file).branches
    return Shop(
        plan.baskets(),
        [(b.branch_id, b.currency) for b in branches if not wanted or b.branch_id in wanted],
        seed=plan.seed,
        run_id=run_id,
        clock=lambda: datetime.now(timezone.utc),
        life_seconds=plan.life_seconds,
        version=plan.version,
    )


@dataclass
class _Sender:
    """One run: paces the shop, and passes each event to the worker of its order."""

    settings: Settings
    plan: Plan
    shop: Shop
    book: Ledger
    stop: Event
    on_progress: Callable[[SendReport], None]
    late_from: Callable[[], bool] | None

    def __post_init__(self) -> None:
        # Apart from the shop's own: lives do not depend on which slots are out of the ordinary.
        self._rng = random.Random(f"poison-{self.plan.seed}")  # noqa: S311 - replayable, not secret
        self._repeatable: deque[_Parcel] = deque(maxlen=REPEATABLE)
        self._direct: KafkaTransport | None = None
        self._queues: list[_Queue] = []
        self._progress_at = 0.0

    async def run(
        self, gateway: GatewayTransport | None, concurrency: int, patience: float
    ) -> None:
        """Send until the plan is fulfilled, then wait for what is under way."""
        if gateway is None or self.plan.poison > 0 or self.plan.duplicates > 0:
            self._direct = KafkaTransport(self.settings.kafka, patience)
        # Short queues: an event carries the time when it was made, so it should leave at once.
        self._queues = [asyncio.Queue[_Parcel](4) for _ in range(concurrency if gateway else 0)]
        tasks = [asyncio.create_task(self._work(q, gateway)) for q in self._queues if gateway]
        tasks.append(asyncio.create_task(self._send_all()))
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

    async def _send_all(self) -> None:
        await self._pace()
        await asyncio.gather(*(queue.join() for queue in self._queues))
        if self._direct is not None:
            await self._direct.drain()

    async def _pace(self) -> None:
        plan, started, number = self.plan, time.monotonic(), 0
        while not self.stop.is_set() and (plan.total is None or number < plan.total):
            ahead = started + number * plan.slot - time.monotonic() if plan.rate else 0.0
            await asyncio.sleep(max(0.0, min(ahead, PROGRESS_SECONDS)))
            if plan.seconds is not None and time.monotonic() - started > plan.seconds:
                return
            self._poll()
            if ahead <= PROGRESS_SECONDS:  # else: a long pause, taken in naps to notice `stop`
                await self._send_one(number)
                number += 1

    async def _send_one(self, number: int) -> None:
        kind = self.plan.kind(number, self._rng)
        if kind == "poison":
            await self._send_poison()
        elif kind == "late":
            await self._until_late_counts()
            age = draw_age(self.settings.streams, self._rng)
            await self._hand_over(_Parcel(self.shop.stray_event(age), late=True))
        elif kind == "duplicate" and self._repeatable:
            first, straight = self._rng.choice(self._repeatable), self._rng.random() < 0.5
            await self._hand_over(
                _Parcel(first.event, late=first.late, first=first, straight=straight)
            )
        else:
            left = self.plan.ordinary_left(number)
            await self._hand_over(_Parcel(self.shop.next_event(number * self.plan.slot, left)))

    async def _until_late_counts(self) -> None:
        while self.late_from is not None and not self.stop.is_set():
            if await asyncio.to_thread(self.late_from):
                self.late_from = None
            else:
                await asyncio.sleep(PROGRESS_SECONDS)
                self._poll()

    async def _hand_over(self, parcel: _Parcel) -> None:
        if parcel.first is None:
            self._repeatable.append(parcel)
        if self._queues:  # one worker per order: its events follow one another
            worker = zlib.crc32(parcel.event.key) % len(self._queues)
            await self._queues[worker].put(parcel)
        else:
            await self._send_direct(parcel)

    async def _send_poison(self) -> None:
        event = self.shop.stray_event(version=1)
        bad = break_event(event, draw_way(self._rng), self._rng)
        topic = event_topics(self.settings.kafka)[event.event_type]
        if self._direct is not None:
            await self._direct.send(
                topic, bad.key, bad.value, lambda d: self.book.note(event, d, bad)
            )

    async def _send_direct(self, parcel: _Parcel) -> None:
        event = parcel.event
        topic = event_topics(self.settings.kafka)[event.event_type]
        if self._direct is not None:
            await self._direct.send(topic, event.key, event.value, lambda d: self._note(parcel, d))

    async def _work(self, queue: _Queue, gateway: GatewayTransport) -> None:
        while True:
            parcel = await queue.get()
            if parcel.straight and parcel.duplicate:
                await self._send_direct(parcel)
            else:
                self._note(parcel, await gateway.deliver(parcel.event))
            queue.task_done()
            self._notify()

    def _note(self, parcel: _Parcel, delivery: Delivery) -> None:
        parcel.taken = delivery.outcome == "accepted"
        self.book.note(parcel.event, delivery, late=parcel.late, duplicate=parcel.duplicate)

    def _poll(self) -> None:
        """Report progress and collect delivery reports of Kafka."""
        self._notify()
        if self._direct is not None:
            self._direct.poll()

    def _notify(self) -> None:
        now = time.monotonic()
        if now - self._progress_at >= PROGRESS_SECONDS:
            self._progress_at = now
            self.on_progress(self.book.report)
