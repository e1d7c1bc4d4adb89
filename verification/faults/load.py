"""Orders through the gateway and frames of a camera, all the time, both with known ids."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
from psycopg_pool import PoolTimeout

from conf.settings import Settings
from inference_service.events import encode
from inference_service.publishers import open_publisher
from quality.order_observer import RunStart
from quality.smoke_test import watermark_is_near
from simulator.ledger import SendReport
from simulator.orders import instant
from simulator.send import send
from streaming.sinks.postgres import Database
from verification.faults.walkers import CYCLE_FRAMES, FPS, KEY, frame
from verification.processes import ProcessError

if TYPE_CHECKING:
    from verification.faults.messages import Sent

POISON, LATE, DUPLICATES = 0.03, 0.02, 0.03
PATIENCE_SECONDS = 600.0
JOIN_SECONDS = 120.0
FUZZ_CAMERA = "B02-entrance"


@dataclass
class Load:
    """Both senders, in threads, until `finish`.

    Attributes:
        settings: of the deployment.
        rate: order events a minute.
        seed: which baskets, lives and kinds.
        run_id: of the camera, new at each run.
        frames: every frame that was handed to the publisher.
        odd: messages that a fault has sent past the gateway.
        sent: totals of the order events, moved on while they are sent.
        start: what the topics held before the first message.
    """

    settings: Settings
    rate: float
    seed: int
    run_id: str = field(default_factory=lambda: uuid4().hex)
    frames: list[dict[str, Any]] = field(default_factory=list)
    odd: list[Sent] = field(default_factory=list)
    sent: SendReport = field(default_factory=lambda: SendReport("none"))
    start: RunStart = field(init=False)

    def __post_init__(self) -> None:
        self._stop, self._gone = threading.Event(), threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=work.__name__, daemon=True)
            for work in (self._send_orders, self._send_frames)
        ]
        self.start = RunStart.of_orders(self.settings)

    @property
    def ledger(self) -> Path:
        """NDJSON, one line for each order message."""
        return self.settings.var_dir / "check" / "ledger.ndjson"

    def begin(self) -> None:
        """Begin to send."""
        for thread in self._threads:
            thread.start()

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
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(JOIN_SECONDS)
        self.require_going()
        if any(thread.is_alive() for thread in self._threads):
            raise ProcessError(f"messages wait for an answer {JOIN_SECONDS:.0f} s after the end")

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
        """A valid frame of now, of another camera, that shows nobody."""
        one = frame(uuid4().hex, CYCLE_FRAMES - 1, datetime.now(timezone.utc))
        return {**one, "camera_id": FUZZ_CAMERA, "branch_id": "B02"}

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # raised in the thread that waits
            self._errors.append(error)

    def _send_orders(self) -> None:
        database = Database(self.settings.postgres.dsn, 1)
        try:
            self.sent = send(
                self.settings,
                rate=self.rate,
                poison=POISON,
                late=LATE,
                duplicates=DUPLICATES,
                seed=self.seed,
                patience=PATIENCE_SECONDS,
                ledger=self.ledger,
                on_progress=self._note,
                late_from=lambda: self._late_counts(database),
                stop=self._stop,
            )
        finally:
            database.close()

    def _is_over(self) -> bool:
        """Whether the last cycle of frames is whole, or the load was abandoned."""
        whole = len(self.frames) % CYCLE_FRAMES == 0
        return self._gone.is_set() or (self._stop.is_set() and whole)

    def _note(self, report: SendReport) -> None:
        self.sent = report

    def _late_counts(self, database: Database) -> bool:
        with suppress(psycopg.Error, PoolTimeout):
            return watermark_is_near(self.settings, database)
        return False

    def _send_frames(self) -> None:
        """Frames at a steady pace, whole cycles of them, in the order of their index."""
        publisher = open_publisher(self.settings, "kafka", stopping=self._gone, spool="faults")
        begun = time.monotonic()
        try:
            while not self._is_over():
                one = frame(self.run_id, len(self.frames), datetime.now(timezone.utc))
                publisher.publish(KEY, encode(one))
                self.frames.append(one)
                time.sleep(max(0.0, begun + len(self.frames) / FPS - time.monotonic()))
        finally:
            publisher.close()
