"""Periodic tasks of streams, each in a thread of its own beside the batches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from conf.settings import StreamSettings
from conf.stores import Stores
from streaming.runtime.failures import root_cause
from streaming.runtime.health import Health
from streaming.runtime.lease import FencedError
from streaming.stream import SinkContext, Stream

log = logging.getLogger("storelake.streams")


class PeriodicTask:
    """Calls a function periodically until `stop`; a failure delays only this task.

    Args:
        stream: whose task.
        name: of the task; the log names both.
        call: must be able to run again after a failure at any point.
        seconds: between the end of a call and the next one.
        limits: pauses after failures.
        first_after: seconds until the first call.
        on_failure: called after each failure.
    """

    def __init__(
        self,
        stream: str,
        name: str,
        call: Callable[[], None],
        seconds: float,
        *,
        limits: StreamSettings,
        first_after: float | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._stream, self.health = stream, Health(f"{stream} ({name})", limits)
        self._call, self._seconds, self._on_failure = call, seconds, on_failure
        self._first = seconds if first_after is None else first_after
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{stream}-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.health.ready = True
        self._thread.start()

    def stop(self) -> None:
        """Wait for the call that is running, and make no further one."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def serves(self) -> tuple[str, ...]:
        """The name of its stream."""
        return (self._stream,)

    def fence(self, stream: str, cause: str) -> None:  # noqa: ARG002 - it has one stream
        """Make no further call: another application has taken the stream over."""
        self._over.set()
        if not self.health.fenced:
            self.health.fence(cause)

    def run_once(self) -> None:
        """One call, outside of the thread; `stop` comes first."""
        if not self.health.failures:
            try:
                self._call()
            except Exception as error:  # the stop continues; the next start does what is left
                log.warning("%s not done before the stop: %s", self.health.name, root_cause(error))

    def _run(self) -> None:
        pause = self._first
        while not self._over.wait(pause):
            self.health.began()
            try:
                self._call()
            except FencedError as error:
                self.fence(self._stream, str(error))
            except Exception as error:  # logged, and tried again
                self.health.failed(root_cause(error))
                self._on_failure()
                pause = max(0.0, self.health.retry_at - self.health.clock())
            else:
                self.health.finished()
                pause = self._seconds


def stream_tasks(
    streams: Sequence[Stream],
    sink_context: Callable[[Stream], SinkContext],
    stores: Callable[[], Stores],
    limits: StreamSettings,
) -> list[PeriodicTask]:
    """The periodic tasks of streams; the first calls of interval tasks are spread over time.

    Args:
        streams: whose tasks.
        sink_context: stream -> resources of its sink.
        stores: the present ones, for each call.
        limits: pauses, and how often.
    """

    def task(
        stream: Stream, name: str, call: Callable[[SinkContext], None], seconds: float, first: float
    ) -> PeriodicTask:
        context = sink_context(stream)

        def once() -> None:
            call(replace(context, stores=stores()))
            if name == "interval":
                context.metrics.settled(stream.name)

        def failed() -> None:
            context.metrics.failed([stream.name])

        return PeriodicTask(
            stream.name,
            name,
            once,
            seconds,
            limits=limits,
            first_after=first,
            on_failure=failed,
        )

    often, seldom = limits.replicate_seconds, limits.interval_seconds
    urgent = [task(s, "copy", s.copy, often, often) for s in streams if s.copy]
    calls = [(s, s.on_interval) for s in streams if s.on_interval]
    step = seldom / max(1, len(calls))
    return urgent + [
        task(s, "interval", call, seldom, step * n) for n, (s, call) in enumerate(calls, 1)
    ]
