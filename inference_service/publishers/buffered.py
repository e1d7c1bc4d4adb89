"""What publishers to a broker have in common: memory, then disk, then back-pressure.

An event waits in memory until the broker has acknowledged it. While the broker is away, or slower
than the cameras, memory fills (`buffer_events`); later events are put on disk (`spool_events`);
when that is full, too, `publish` waits, which slows a file down and makes a live camera drop
frames, counted. When the broker is back everything leaves in the order in which it came. What is
not acknowledged at the end is put on disk and sent at the next start, before anything new.

Delivery: at least once, in order. After a kill, what was in memory alone is lost and was never
reported as delivered; what was on disk is sent, perhaps again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from inference_service.publishers import Counts, PublishError
from inference_service.publishers.spool import Spool

log = logging.getLogger(__name__)

MOST_BYTES = 1_000_000  # of one event: Kafka's limit, and below that of Pulsar
WAIT_SECONDS = 0.1
RETRY_SECONDS = 2.0
DELETE_EVERY = 200  # acknowledged events, before those on disk are deleted


class AwayError(Exception):
    """The broker cannot be reached now; the event was not taken, and may be tried again."""


class RefusedError(Exception):
    """The broker will not take the event, however often it is tried."""


class EventTransport(Protocol):
    """One broker. Called by one thread only; `done` is called by others."""

    @property
    def where(self) -> str:
        """The broker and the topic, for messages."""
        ...

    def send(self, key: bytes, value: bytes, done: Callable[[str | None], None]) -> None:
        """Hand one event over; later, `done` gets None when it is stored, else what was wrong.

        What was taken is tried without a time limit, and in order.

        Raises:
            AwayError: there is no connection (yet).
            RefusedError: there never will be.
        """
        ...

    def close(self) -> None:
        """Drop what was not stored, quickly; after this, `done` is not called."""
        ...


@dataclass(eq=False)
class _Event:
    key: bytes
    value: bytes
    number: int | None = None  # on disk
    stored: bool = False


class BufferedPublisher:
    """An `EventPublisher` to a transport."""

    def __init__(
        self,
        transport: EventTransport,
        spool: Spool,
        *,
        buffer_events: int = 2_000,
        stopping: threading.Event | None = None,
        close_seconds: float = 15.0,
    ) -> None:
        self._transport, self._spool, self._limit = transport, spool, buffer_events
        self._stopping = stopping or threading.Event()
        self._close_seconds = close_seconds
        self._changed = threading.Condition()
        self._waiting: deque[_Event] = deque()  # to be sent
        self._sent: deque[_Event] = deque()  # to be acknowledged; the oldest first
        self._loaded: int | None = None  # the youngest event on disk that is in memory, too
        self._stored: list[int] = []  # acknowledged events on disk, to be deleted
        self._counts = Counts(accepted=len(spool))
        self._refused: str | None = None
        self._closed = self._over = False
        if len(spool):
            log.info("%d events wait in %s and are sent first", len(spool), spool.path)
        self._send_loop = threading.Thread(target=self._run, name="publish", daemon=True)
        self._send_loop.start()

    @property
    def delivered(self) -> int:
        """Events that the broker has acknowledged, those of an earlier process included."""
        return self._counts.delivered

    @property
    def counts(self) -> Counts:
        """What happened so far."""
        return replace(self._counts, on_disk=len(self._spool))

    def publish(self, key: bytes, value: bytes) -> None:
        """Take one event over; see `EventPublisher.publish`."""
        if len(value) > MOST_BYTES:
            raise PublishError(
                f"{self._transport.where} took no event: {len(value)} bytes are over {MOST_BYTES}."
            )
        with self._changed:
            self._check()
            if not self._has_room():
                self._wait_for_room()
            if self._memory_has_room():
                self._waiting.append(_Event(key, value))
            else:
                if not len(self._spool):
                    log.warning("%s does not keep up: spooling", self._transport.where)
                self._spool.append(key, value)
                self._counts.spooled += 1
            self._counts.accepted += 1
            self._changed.notify_all()

    def _memory_has_room(self) -> bool:
        # Behind events on disk a new one is put on disk, too: that keeps their order.
        return not len(self._spool) and len(self._waiting) + len(self._sent) < self._limit

    def _has_room(self) -> bool:
        return self._memory_has_room() or not self._spool.full

    def _wait_for_room(self) -> None:
        self._counts.waits += 1
        log.warning("%s does not keep up, and the spool is full: waiting", self._transport.where)
        while not self._has_room():
            if self._stopping.is_set():
                raise PublishError(
                    f"Stopped while the spool for {self._transport.where} was full: "
                    "one event is lost."
                )
            self._changed.wait(WAIT_SECONDS)
            self._check()

    def flush(self) -> None:
        """Wait for all acknowledgements, at most `close_seconds` without one."""
        with self._changed:
            seen, deadline = -1, 0.0
            while self._missing() and self._refused is None:
                if self._counts.delivered != seen:
                    seen = self._counts.delivered
                    deadline = time.monotonic() + self._close_seconds
                if time.monotonic() > deadline:
                    break
                self._changed.wait(WAIT_SECONDS)
            self._check_refused()
            if self._missing():
                raise PublishError(
                    f"{self._missing()} of {self._counts.accepted} events were not acknowledged by "
                    f"{self._transport.where} within {self._close_seconds:g} s."
                )

    def close(self) -> None:
        """Flush, once; what is not acknowledged is put on disk, for the next start."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
        try:
            self.flush()
        except PublishError as error:
            left = self._end()
            raise PublishError(
                f"{error} {left} wait in {self._spool.path} and are sent at the next start."
            ) from None
        self._end()

    def _end(self) -> int:
        """Stop the sender thread and put memory on disk; returns the number of events on disk."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._send_loop.join()
        self._transport.close()
        with self._changed:
            self._delete_stored()
            memory = [e for e in (*self._sent, *self._waiting) if not e.stored and e.number is None]
            self._spool.prepend([(e.key, e.value) for e in memory])
            self._spool.close()
        return len(self._spool)

    def _missing(self) -> int:
        return self._counts.accepted - self._counts.delivered

    def _check(self) -> None:
        if self._closed:
            raise PublishError(f"The publisher to {self._transport.where} is closed.")
        self._check_refused()

    def _check_refused(self) -> None:
        if self._refused is not None:
            raise PublishError(
                f"{self._transport.where} refused events: {self._refused} "
                f"({self._counts.delivered} of {self._counts.accepted} acknowledged)."
            )

    def _run(self) -> None:
        """The sender thread: from memory, then disk, to the transport, until the publisher ends."""
        try:
            self._send_all()
        except Exception as error:  # a thread that ended unseen would be a silent loss
            with self._changed:
                self._refuse(str(error))

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._load()
                while not self._over and (not self._waiting or self._refused is not None):
                    self._changed.wait()
                    self._load()
                if self._over:
                    return
                event = self._waiting.popleft()
                self._sent.append(event)
            try:
                self._transport.send(event.key, event.value, partial(self._done, event))
            except (AwayError, RefusedError) as error:
                self._take_back(error)

    def _load(self) -> None:
        room = self._limit - len(self._sent)
        if self._waiting or room <= 0 or not len(self._spool):
            return
        for row in self._spool.after(self._loaded, room):
            self._waiting.append(_Event(row.key, row.value, row.number))
            self._loaded = row.number

    def _take_back(self, error: AwayError | RefusedError) -> None:
        with self._changed:
            self._waiting.appendleft(self._sent.pop())
            self._counts.errors += 1
            if isinstance(error, RefusedError):
                self._refuse(str(error))
                return
            log.warning("%s is away: %s", self._transport.where, error)
            self._changed.wait_for(lambda: self._over, RETRY_SECONDS)

    def _done(self, event: _Event, error: str | None) -> None:
        with self._changed:
            if error is None:
                event.stored = True
                self._counts.delivered += 1
                while self._sent and self._sent[0].stored:
                    oldest = self._sent.popleft()
                    if oldest.number is not None:
                        self._stored.append(oldest.number)
                if len(self._stored) >= DELETE_EVERY or not self._sent:
                    self._delete_stored()
                self._changed.notify_all()
            elif not self._over:
                self._counts.errors += 1
                self._refuse(error)

    def _refuse(self, reason: str) -> None:
        self._refused = self._refused or reason
        self._changed.notify_all()

    def _delete_stored(self) -> None:
        if self._stored:
            try:
                self._spool.delete(self._stored[-1])
            except PublishError as error:  # a full disk: the next acknowledgement tries it again
                log.warning("acknowledged events stay on disk: %s", error)
                return
            self._stored.clear()
        if not len(self._spool):
            self._loaded = None  # the numbers begin again
