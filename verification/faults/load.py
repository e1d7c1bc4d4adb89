"""Orders through the gateway and frames of cameras, all the time, both with known ids."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import psycopg
from psycopg_pool import PoolTimeout

from conf.settings import Settings
from inference_service.events import encode
from inference_service.publishers import open_publisher
from quality.order_observer import RunStart
from quality.smoke_test import watermark_is_near
from simulator.ledger import Entry, SendReport, read_ledger
from simulator.orders import instant
from simulator.send import send
from streaming.sinks.postgres import Database
from verification.faults.walkers import CROWDED, ENTRANCE, PULSAR, Camera, frame
from verification.processes import ProcessError

if TYPE_CHECKING:
    from verification.faults.messages import Sent

POISON, LATE, DUPLICATES = 0.03, 0.02, 0.03
PATIENCE_SECONDS = 600.0
JOIN_SECONDS = 120.0
FLOOD_FACTOR = 10


class Sender(Protocol):
    """Sends until `stop` is set, and gives up what waits for an answer once `gone` is set."""

    def run(self, stop: threading.Event, gone: threading.Event) -> None:
        """Send in this thread."""


@dataclass
class OrderLoad:
    """Order events through the gateway; broken ones and half of the repeats go to Kafka.

    Attributes:
        settings: of the deployment.
        rate: order events a minute.
        seed: which baskets, lives and kinds.
        ledger: NDJSON, one line for each order message.
        late: share of events that come too late to count.
        sent: totals, moved on while they are sent.
    """

    settings: Settings
    rate: float
    seed: int
    ledger: Path
    late: float = LATE
    sent: SendReport = field(default_factory=lambda: SendReport("none"))

    def run(self, stop: threading.Event, gone: threading.Event) -> None:  # noqa: ARG002 - protocol
        """Send until `stop`, and until each event is acknowledged."""
        database = Database(self.settings.postgres.dsn, 1)
        try:
            self.sent = send(
                self.settings,
                rate=self.rate,
                poison=POISON,
                late=self.late,
                duplicates=DUPLICATES,
                seed=self.seed,
                patience=PATIENCE_SECONDS,
                ledger=self.ledger,
                on_progress=self._note,
                late_from=lambda: self._late_counts(database),
                stop=stop,
            )
        finally:
            database.close()

    def _note(self, report: SendReport) -> None:
        self.sent = report

    def _late_counts(self, database: Database) -> bool:
        with suppress(psycopg.Error, PoolTimeout):
            return watermark_is_near(self.settings, database)
        return False


@dataclass
class CameraLoad:
    """Frames of one camera at a steady pace, in the order of their index.

    Attributes:
        settings: of the deployment; the publisher's broker.
        camera: that sees walkers.
        run_id: of the camera, new at each run.
        frames: every frame that was handed to the publisher.
    """

    settings: Settings
    camera: Camera
    run_id: str = field(default_factory=lambda: uuid4().hex)
    frames: list[dict[str, Any]] = field(default_factory=list)

    def run(self, stop: threading.Event, gone: threading.Event) -> None:
        """Publish until `stop`, and until the last cycle of frames is whole."""
        publisher = open_publisher(self.settings, self.camera.broker, stopping=gone)
        begun = time.monotonic()
        try:
            while not gone.is_set() and not (stop.is_set() and self._is_whole()):
                now = datetime.now(timezone.utc)
                one = frame(self.camera, self.run_id, len(self.frames), now)
                publisher.publish(self.camera.key, encode(one))
                self.frames.append(one)
                due = begun + len(self.frames) / self.camera.fps
                time.sleep(max(0.0, due - time.monotonic()))
        finally:
            publisher.close()

    def _is_whole(self) -> bool:
        return len(self.frames) % self.camera.cycle == 0


@dataclass
class Load:
    """All senders, each in a thread, until `finish`.

    Attributes:
        settings: of the deployment.
        rate: order events a minute.
        seed: which baskets, lives and kinds.
        cameras_at: settings of the cameras, whose broker is behind a proxy; else the same.
        odd: messages that a fault has sent past the gateway.
        aborted: ids of messages of aborted transactions.
        start: what the topics held before the first message.
    """

    settings: Settings
    rate: float
    seed: int
    cameras_at: Settings | None = None
    odd: list[Sent] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    start: RunStart = field(init=False)

    def __post_init__(self) -> None:
        self._stop, self._gone = threading.Event(), threading.Event()
        self._errors: list[BaseException] = []
        self._threads = list[threading.Thread]()
        used = (ENTRANCE, PULSAR) if self.settings.wants_pulsar else (ENTRANCE,)
        self.cameras = [CameraLoad(self.cameras_at or self.settings, one) for one in used]
        ledger = self.settings.var_dir / "check" / "ledger.ndjson"
        self.orders = [OrderLoad(self.settings, self.rate, self.seed, ledger)]
        self.start = RunStart.of_orders(self.settings)

    @property
    def entries(self) -> list[Entry]:
        """All order messages that were sent."""
        return [entry for one in self.orders for entry in read_ledger(one.ledger)]

    def begin(self) -> None:
        """Begin to send."""
        self._threads += self._begin([*self.orders, *self.cameras], self._stop)

    def flood(self, seconds: float) -> None:
        """Send ten times as much for so long, with a second sender of each kind."""
        ledger = self.settings.var_dir / "check" / f"flood-{len(self.orders)}.ndjson"
        rate, seed = self.rate * (FLOOD_FACTOR - 1), self.seed + len(self.orders)
        more = OrderLoad(self.settings, rate, seed, ledger, late=0.0)
        crowd = CameraLoad(self.settings, CROWDED)
        self.orders.append(more)
        self.cameras.append(crowd)
        over = threading.Event()
        threads = self._begin([more, crowd], over)
        self._gone.wait(seconds)  # the length of the load is what is waited for
        over.set()
        self._join(threads)

    def require_going(self) -> None:
        """Raise `ProcessError` when a sender has ended."""
        if self._errors:
            raise ProcessError(f"the load ended: {self._errors[0]!r}") from self._errors[0]

    def finish(self) -> None:
        """Stop sending, and wait until every message is acknowledged.

        Raises:
            ProcessError: a sender has failed, or does not end.
        """
        self._stop.set()
        self._join(self._threads)

    def abandon(self) -> None:
        """Stop sending, and give up what waits for an answer."""
        self._stop.set()
        self._gone.set()

    def status_change(self, order_id: str) -> dict[str, Any]:
        """A valid event of now about an order that nobody has created: no table of sums changes."""
        return {
            "event_id": str(uuid4()),
            "event_type": "order.status_changed",
            "event_time": instant(datetime.now(timezone.utc)),
            "schema_version": 1,
            "source": "pos-B01",
            "order": {
                "order_id": order_id,
                "branch_id": "B01",
                "old_status": "pending",
                "new_status": "processing",
            },
        }

    def stray_frame(self) -> dict[str, Any]:
        """A valid frame of now, of a camera of its own, that shows nobody."""
        return frame(PULSAR, uuid4().hex, PULSAR.cycle - 1, datetime.now(timezone.utc))

    def _begin(self, senders: Sequence[Sender], stop: threading.Event) -> list[threading.Thread]:
        threads = [
            threading.Thread(target=self._guarded, args=(one, stop), daemon=True) for one in senders
        ]
        for thread in threads:
            thread.start()
        return threads

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        for thread in threads:
            thread.join(JOIN_SECONDS)
        self.require_going()
        if any(thread.is_alive() for thread in threads):
            raise ProcessError(f"messages wait for an answer {JOIN_SECONDS:.0f} s after the end")

    def _guarded(self, sender: Sender, stop: threading.Event) -> None:
        try:
            sender.run(stop, self._gone)
        except BaseException as error:  # raised in the thread that waits
            self._errors.append(error)
