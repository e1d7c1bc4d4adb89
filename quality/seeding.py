"""Gives a deployment a past: sends generated days, waits for the streams, compares gold.

Delivery: each message once, also where an earlier call was killed: of a day whose sending has begun
the topics are read from there, and what they hold is left out (`past_messages`, `seed_state`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property

from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan

from conf.settings import Settings
from conf.stores import load_stores
from infra.local.locks import exclusive
from infra.local.process import wait_until
from quality.order_observer import Offsets, end_offsets
from quality.past_messages import deliver, messages_of, sent_since
from quality.past_reconciliation import BranchHours, Seeded, gold_of, reconcile_past, truth_of
from quality.reconciliation import Reconciliation
from quality.seed_state import SeedError, SeedState, begin_past, note_day
from quality.smoke_test import require_streams
from simulator.past.days import Past, PastDay
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Lake
from streaming.lake.tables import BRONZE_DETECTIONS, BRONZE_ORDER_EVENTS
from streaming.progress import Progress
from streaming.registry import STREAMS
from streaming.sinks.postgres import Database
from streaming.source import broker_offset

AHEAD = 25_000
"""Messages that wait for the slowest stream at most, so that live ones do not wait for all."""
STILL_SECONDS = 120.0
"""After so long without progress the streams are given up."""
BRONZE = {t.writer: t for t in (BRONZE_ORDER_EVENTS, BRONZE_DETECTIONS)}


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
    with past_sender(settings, seed, report) as sender:
        sent = sender.send(days, AHEAD)
        return sender.result(sent)


@contextmanager
def past_sender(
    settings: Settings, seed: int, report: Callable[[str], None]
) -> Iterator[PastSender]:
    """The only sender of the past of a deployment, whose services run.

    Raises:
        StorelakeError: another command sends it, it has another seed, or no stream would read it.
    """
    if "kafka" not in settings.streams.detections_from:
        raise SeedError("The past of cameras comes through Kafka: add it to detections_from.")
    with (
        exclusive(settings.var_dir / "run" / "seed.lock", "a past", 0.0),
        closing(Database(settings.postgres.dsn, 2)) as db,
        open_lake(settings) as lake,
    ):
        yield PastSender(settings, db, lake, begin_past(settings, db, seed, report), report)


@dataclass
class PastSender:
    """Sends the days of one past, and waits for the streams.

    Attributes:
        settings, db, lake: of the deployment.
        state: what was sent before; kept up to date in its file.
        report: receives each step.
        ends: the newest offset of each partition that this past has.
    """

    settings: Settings
    db: Database
    lake: Lake
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

    def send(self, days: int, ahead: int | None = None) -> int:
        """Send what is missing of so many days, and of days that an earlier call began.

        Args:
            days: full days before that of the end.
            ahead: messages that may wait for the streams after each day; None: any number.

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
            if ahead is not None:
                self.wait(ahead)
        return total

    def result(self, sent: int) -> Seeded:
        """Wait until the streams and gold have all of the past, and reconcile it."""
        self.wait(0)
        return Seeded(sent, self.past.end, self.truth, self.reconcile())

    def _send_day(self, day: PastDay) -> int:
        name, kafka = str(day.day), self.settings.kafka
        begun = self.state.days.get(name)
        done: set[str] = set()
        if begun is None:
            ends = end_offsets(self.settings, (*kafka.order_topics, kafka.detections))
            begun = [(*partition, offset) for partition, offset in ends.items()]
            note_day(self.settings, self.state, name, begun)
        else:
            done, ends = sent_since(self.settings, {(topic, n): at for topic, n, at in begun})
            self._reached(ends)
        messages = [one for one in messages_of(kafka, day) if one.event_id not in done]
        self._reached(deliver(kafka, messages))
        note_day(self.settings, self.state, name, None)
        return len(messages)

    def _reached(self, ends: Offsets) -> None:
        for at, offset in ends.items():
            self.ends[at] = max(offset, self.ends.get(at, -1))

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
        done = [(s, self.db.progress(s.name)[0]) for s in STREAMS if s.ledger == "postgres"]
        done += [(s, self.lake.progress(BRONZE[s.name])) for s in STREAMS if s.name in BRONZE]
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
        hours = {hour.hour for hour in self.truth.sums} | {at for _, at in self.truth.visitors}
        first = min(hours, default=self.past.end)
        span = And(
            GreaterThanOrEqual(term="hour", value=first.isoformat()),
            LessThan(term="hour", value=self.past.end.isoformat()),
        )
        tables = ("gold.order_hourly", "gold.payments_hourly", "gold.store_hourly")
        return gold_of(*(self.lake.read(table, ("*",), span).to_pylist() for table in tables))
