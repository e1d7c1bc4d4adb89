"""Gives a deployment a past: sends generated days to Kafka, and compares gold with the truth.

Delivery: each message once, also where an earlier call was killed: of a day whose sending has begun
the topics are read from there, and what they hold is left out. `<var>/seed/state.json` keeps which
days were sent, their seed, and the end of the past, which stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

import msgspec
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan

from conf.contracts.topics import event_topics
from conf.settings import Settings
from conf.stores import load_stores
from infra.local.locks import exclusive
from infra.local.process import wait_until
from quality.order_observer import Offsets, end_offsets, open_log
from quality.past_reconciliation import BranchHours, Seeded, gold_of, reconcile_past, truth_of
from quality.reconciliation import Reconciliation
from quality.seed_state import SeedError, SeedState, begin_past, note_day
from quality.smoke_test import require_streams
from simulator.ledger import Delivery
from simulator.past.days import Past, PastDay
from simulator.transport import KafkaTransport
from streaming.lake.formats import open_lake
from streaming.lake.tables import BRONZE_DETECTIONS, BRONZE_ORDER_EVENTS
from streaming.progress import Progress
from streaming.registry import STREAMS
from streaming.sinks.postgres import Database
from streaming.source import HISTORY_HEADER, broker_offset
from streaming.sources.log import Range

AHEAD = 25_000
"""Messages that wait for the slowest stream at most, so that live ones do not wait for all."""
STILL_SECONDS = 120.0
"""After so long without progress the streams are given up."""
BRONZE = {t.writer: t for t in (BRONZE_ORDER_EVENTS, BRONZE_DETECTIONS)}
HISTORY = [(HISTORY_HEADER, b"1")]
Message = tuple[str, bytes, bytes, str]
"""Topic, key, value, event id."""


def seed_past(settings: Settings, *, days: int, seed: int, report: Callable[[str], None]) -> Seeded:
    """Send the days that the deployment does not have yet, and reconcile all of its past.

    Args:
        settings: of a deployment that runs.
        days: full days before that of the end.
        seed: of everything; one past has one.
        report: receives each step.

    Raises:
        StorelakeError: services or streams do not run, or stop; the next call continues.
    """
    require_streams(settings, [stream.name for stream in STREAMS])
    if "kafka" not in settings.streams.detections_from:
        raise SeedError("The past of cameras comes through Kafka: add it to detections_from.")
    with (
        exclusive(settings.var_dir / "run" / "seed.lock", "a past", 0.0),
        closing(Database(settings.postgres.dsn, 2)) as db,
    ):
        seeding = PastSender(settings, db, begin_past(settings, db, seed, report), report)
        sent = seeding.send(days)
        seeding.wait(0)
        return Seeded(sent, seeding.past.end, seeding.truth, seeding.reconcile())


@dataclass
class PastSender:
    """Sends the days of one past, and waits for the streams.

    Attributes:
        settings, db: of the deployment.
        state: what was sent before; kept up to date in its file.
        report: receives each step.
        ends: the newest offset of each partition that this past has.
    """

    settings: Settings
    db: Database
    state: SeedState
    report: Callable[[str], None]
    ends: Offsets = field(default_factory=dict)

    @cached_property
    def past(self) -> Past:
        """The days that can be sent."""
        stores = load_stores(self.settings.stores_file)
        return Past(stores, self.state.seed, self.state.end)

    @cached_property
    def truth(self) -> BranchHours:
        """Of all days that were sent."""
        return truth_of(self.past.day(date.fromisoformat(day)) for day in sorted(self.state.days))

    def send(self, days: int) -> int:
        """Send what is missing of so many days, and of days that an earlier call began.

        Returns:
            The number of messages.
        """
        begun = {date.fromisoformat(day) for day in self.state.days}
        wanted = sorted({*self.past.days(days), *begun})
        missing = [day for day in wanted if self.state.days.get(str(day), ()) is not None]
        total = 0
        for number, day in enumerate(missing, 1):
            sent = self._send_day(self.past.day(day))
            total += sent
            self.report(f"{day}: {sent:,} messages, day {number} of {len(missing)}")
            self.wait(AHEAD)
        return total

    def _send_day(self, day: PastDay) -> int:
        name = str(day.day)
        begun = self.state.days.get(name)
        done: set[str] = set()
        if begun is None:
            topics = (*self.settings.kafka.order_topics, self.settings.kafka.detections)
            ends = end_offsets(self.settings, topics)
            note_day(
                self.settings,
                self.state,
                name,
                [(*partition, offset) for partition, offset in ends.items()],
            )
        else:
            done = self._sent_since({(topic, number): at for topic, number, at in begun})
        messages = [one for one in self._messages(day) if one[-1] not in done]
        failed = asyncio.run(self._deliver(messages))
        if failed:
            raise SeedError(
                f"Kafka at {self.settings.kafka.bootstrap} did not take all of {name} "
                f"({failed[0].detail}): repeat the command, which continues there."
            )
        note_day(self.settings, self.state, name, None)
        return len(messages)

    def _sent_since(self, begun: Offsets) -> set[str]:
        """Ids of the events in the topics since a day began."""
        topics = sorted({topic for topic, _ in begun})
        with closing(open_log(self.settings, topics)) as log:
            ranges = [
                Range(*partition, max(first, begun.get(partition, first)), end)
                for partition, (first, end) in log.bounds().items()
            ]
            for one in ranges:
                self.ends[one.topic, one.partition] = broker_offset(str(one.end)) - 1
            return {
                event_id
                for rows in log.fetch(ranges)
                for value in rows.column("value").to_pylist()
                if (event_id := event_id_of(value))
            }

    def _messages(self, day: PastDay) -> Iterator[Message]:
        topics = event_topics(self.settings.kafka)
        for event in day.orders:
            yield topics[event.event_type], event.key, event.value, event.event_id
        encode = msgspec.json.Encoder().encode
        for frame in day.frames():
            key = f"{frame['branch_id']}/{frame['camera_id']}".encode()
            yield self.settings.kafka.detections, key, encode(frame), frame["event_id"]

    async def _deliver(self, messages: list[Message]) -> list[Delivery]:
        """Send in order; returns what Kafka did not acknowledge."""
        failed: list[Delivery] = []

        def note(delivery: Delivery) -> None:
            if delivery.partition is None or delivery.offset is None:
                failed.append(delivery)
                return
            at = (delivery.topic, delivery.partition)
            self.ends[at] = max(delivery.offset, self.ends.get(at, -1))

        transport = KafkaTransport(self.settings.kafka, 60)
        for topic, key, value, _ in messages:
            headers = () if topic == self.settings.kafka.detections else HISTORY
            await transport.send(topic, key, value, note, headers=headers)
            transport.poll()
        await transport.drain()
        return failed

    def wait(self, most: int) -> None:
        """Wait until at most so many messages of this call wait for the slowest stream."""
        while (waiting := self._waiting()) > most:
            if not self._moves(waiting):
                raise SeedError(
                    f"The streams make no progress, {waiting:,} messages wait: see `storelake "
                    "status`, then repeat the command."
                )
            require_streams(self.settings, [stream.name for stream in STREAMS])

    def _moves(self, waiting: int) -> bool:
        return wait_until(lambda: self._waiting() < waiting, STILL_SECONDS, every=0.25)

    def _waiting(self) -> int:
        with open_lake(self.settings) as lake:
            done = [(s, self.db.progress(s.name)[0]) for s in STREAMS if s.ledger == "postgres"]
            done += [(s, lake.progress(BRONZE[s.name])) for s in STREAMS if s.name in BRONZE]
        return max(self._behind(s.topics(self.settings), positions) for s, positions in done)

    def _behind(self, topics: tuple[str, ...], done: Progress) -> int:
        return sum(
            max(0, end - (broker_offset(done[at]) if at in done else -1))
            for at, end in self.ends.items()
            if at[0] in topics
        )

    def reconcile(self) -> Reconciliation:
        """Compare gold with the truth, and again until they agree: gold follows within seconds."""
        self.report("waiting for gold")
        found = reconcile_past(self.truth, self._gold())

        def agrees() -> bool:
            nonlocal found
            found = reconcile_past(self.truth, self._gold())
            return found.ok

        wait_until(agrees, STILL_SECONDS, every=1.0)
        return found

    def _gold(self) -> BranchHours:
        first = min((hour.hour for hour in self.truth.sums), default=self.past.end)
        span = And(
            GreaterThanOrEqual(term="hour", value=first.isoformat()),
            LessThan(term="hour", value=self.past.end.isoformat()),
        )
        with open_lake(self.settings) as lake:
            tables = ("gold.order_hourly", "gold.payments_hourly", "gold.store_hourly")
            return gold_of(*(lake.read(table, ("*",), span).to_pylist() for table in tables))


class _Event(msgspec.Struct):
    event_id: str


def event_id_of(value: bytes | None) -> str | None:
    """The id of the event in a message; None where it has none."""
    try:
        return msgspec.json.decode(value or b"", type=_Event).event_id
    except (ValueError, RecursionError):
        return None
