"""The loop: source -> detector -> tracker -> event -> publisher. No pixel leaves it (V8)."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import FrameType

from inference_service.buffer import FrameBuffer
from inference_service.detections import Detections
from inference_service.detectors import Detector
from inference_service.events import EventBuilder, Run, Runtime, encode
from inference_service.frames import Frame, Source
from inference_service.publishers import Publisher
from inference_service.tracker import Tracker

log = logging.getLogger(__name__)

Observer = Callable[[Frame, Detections], None]
JOIN_SECONDS = 6.0  # a camera's read gives up after 5


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        read: frames that the source handed out.
        processed: frames that were detected and tracked.
        published: events that were acknowledged.
        dropped: frames that were read but not processed.
        inference_ms: mean time of one detection.
        seconds: length of the run.
    """

    read: int
    processed: int
    published: int
    dropped: int
    inference_ms: float
    seconds: float


@dataclass(frozen=True)
class Limits:
    """When to stop by itself: after so many seconds of the clock, or processed frames."""

    seconds: float | None = None
    frames: int | None = None


class InferenceService:
    """One camera's loop; several may run in one process, each in its thread.

    It owns what it was given: `run` closes the source and the publisher at its end.
    """

    def __init__(
        self,
        *,
        branch_id: str,
        camera_id: str,
        source: Source,
        detector: Detector,
        tracker: Tracker,
        publisher: Publisher,
        queue_frames: int = 64,
        limits: Limits | None = None,
        observer: Observer | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._detector, self._tracker, self._publisher = detector, tracker, publisher
        runtime = Runtime(detector.name, detector.model, tracker.name, detector.device)
        self._events = EventBuilder(branch_id, camera_id, runtime)
        self._buffer = FrameBuffer(source, queue_frames)
        self._limits = limits or Limits()
        self._observer = observer
        self._stopping = stopping or threading.Event()
        self._run = Run()
        self._processed = 0
        self._inference_ms = 0.0

    def request_stop(self) -> None:
        """End after the frame at hand; from any thread or signal handler, any number of times."""
        self._stopping.set()
        # Closing takes a lock that the interrupted thread may hold: never do it inside a handler.
        threading.Thread(target=self._buffer.close, daemon=True).start()

    def run(self) -> Summary:
        """Work until the source ends, a limit is reached or a stop is requested.

        Raises:
            PublishError: events were not acknowledged.
            Exception: what the source or the detector raised, after events so far were flushed.
        """
        started = time.monotonic()
        timer = self._start_timer()
        try:
            for frame in self._buffer:
                self._process(frame)
                if self._stopping.is_set() or self._processed == self._limits.frames:
                    break
        finally:
            timer.cancel()
            self._buffer.close()
            self._publisher.close()
            if not self._buffer.join(JOIN_SECONDS):
                log.warning("the source hangs in a read and is left behind")
        summary = Summary(
            read=self._buffer.read,
            processed=self._processed,
            published=self._publisher.delivered,
            dropped=self._buffer.dropped,
            inference_ms=round(self._inference_ms / max(1, self._processed), 3),
            seconds=round(time.monotonic() - started, 3),
        )
        log.info("run ended: %s", asdict(summary))
        return summary

    def _process(self, frame: Frame) -> None:
        if self._run.roll(frame.captured_at):
            self._tracker.reset()
        started = time.perf_counter()
        found = self._detector.detect(frame.image)
        inference_ms = (time.perf_counter() - started) * 1000
        tracked = self._tracker.update(found, frame.captured_at)
        event = self._events.build(frame, self._run.run_id, tracked, inference_ms)
        self._publisher.publish(self._events.key, encode(event))
        self._processed += 1
        self._inference_ms += inference_ms
        if self._observer is not None:
            self._observer(frame, tracked)

    def _start_timer(self) -> threading.Timer:
        # A timer and not a look at the clock after each frame: a source may deliver none for long.
        timer = threading.Timer(self._limits.seconds or 0.0, self.request_stop)
        timer.daemon = True
        if self._limits.seconds is not None:
            timer.start()
        return timer


@contextmanager
def stop_on_signals(*services: InferenceService) -> Iterator[None]:
    """SIGINT and SIGTERM stop the services cleanly inside the block; main thread only."""

    def handle(number: int, _: FrameType | None) -> None:
        log.info("%s: stopping", signal.Signals(number).name)
        for service in services:
            service.request_stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
