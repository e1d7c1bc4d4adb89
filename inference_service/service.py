"""The loop: sources -> detector -> trackers -> events -> publisher. No pixel leaves it."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import FrameType

from inference_service.buffer import FrameIntake
from inference_service.detections import Detections
from inference_service.detectors import Detector
from inference_service.events import EventBuilder, RunIdentity, Runtime, encode
from inference_service.frames import Frame, FrameSource
from inference_service.metrics import InferenceMetrics
from inference_service.publishers import EventPublisher, PublishError
from inference_service.trackers import Tracker

log = logging.getLogger(__name__)

Observer = Callable[[Frame, Detections], None]
JOIN_SECONDS = 6.0  # a camera's read gives up after 5 by default


@dataclass(frozen=True)
class CameraStream:
    """One camera under way: what is its own.

    Attributes:
        branch_id: its shop.
        camera_id: its key; unique within a service.
        source: where its pictures come from.
        tracker: never shared, since ids count within one camera.
        observers: are shown each processed frame, in the thread of the loop.
    """

    branch_id: str
    camera_id: str
    source: FrameSource
    tracker: Tracker
    observers: Sequence[Observer] = ()


@dataclass(frozen=True)
class CameraSummary:
    """What a run did for one camera; `read` = `processed` + `dropped`."""

    read: int
    processed: int
    dropped: int
    reconnects: int


@dataclass(frozen=True)
class InferenceSummary:
    """What a run did.

    Attributes:
        read: frames that the sources returned, or could not decode.
        processed: frames that were detected and tracked.
        published: events that were acknowledged.
        dropped: frames that were read but not processed.
        inference_ms: mean time of detection a frame, its share of a batch.
        track_ms: mean time of tracking a frame.
        publish_ms: mean time of building and handing over an event.
        seconds: length of the run.
        cameras: by camera id.
    """

    read: int
    processed: int
    published: int
    dropped: int
    inference_ms: float
    track_ms: float
    publish_ms: float
    seconds: float
    cameras: dict[str, CameraSummary]


@dataclass(frozen=True)
class Limits:
    """When to stop by itself: after so many seconds of the clock, or processed frames (of all)."""

    seconds: float | None = None
    frames: int | None = None


@dataclass
class _Follower:
    """A camera's way from boxes to events."""

    stream: CameraStream
    events: EventBuilder
    run: RunIdentity = field(default_factory=RunIdentity)

    def track(self, frame: Frame, found: Detections) -> Detections:
        if self.run.roll(frame):
            self.stream.tracker.reset()
        return self.stream.tracker.update(found, frame)


class InferenceService:
    """The loop of one process: any number of cameras, one detector, one publisher.

    Each tick takes at most one frame of every camera that has one, and shows them to the detector
    as one batch. A camera that fails does not stop the others. It owns what it was given: `run`
    closes the sources and the publisher at its end.
    """

    def __init__(
        self,
        streams: Sequence[CameraStream],
        *,
        detector: Detector,
        publisher: EventPublisher,
        queue_frames: int = 16,
        limits: Limits | None = None,
        metrics: InferenceMetrics | None = None,
        stopping: threading.Event | None = None,
    ) -> None:
        self._detector, self._publisher = detector, publisher
        self._followers = {
            s.camera_id: _Follower(
                s,
                EventBuilder(
                    s.branch_id,
                    s.camera_id,
                    Runtime(detector.name, detector.model, s.tracker.name, detector.device),
                ),
            )
            for s in streams
        }
        self._intake = FrameIntake({s.camera_id: s.source for s in streams}, queue_frames)
        self._limits = limits or Limits()
        self._metrics = metrics or InferenceMetrics()
        self._metrics.watch(self._intake, publisher)
        self._stopping = stopping or threading.Event()

    def request_stop(self) -> None:
        """End after the frames at hand; from any thread or signal handler, any number of times."""
        self._stopping.set()
        # Closing takes a lock that the interrupted thread may hold: never do it inside a handler.
        threading.Thread(target=self._intake.close, daemon=True).start()

    def run(self, report: Callable[[InferenceSummary], None] = lambda _: None) -> InferenceSummary:
        """Work until all sources end, a limit is reached or a stop is requested.

        Args:
            report: gets the totals at the end, also of a run that failed.

        Raises:
            PublishError: events were not acknowledged.
            Exception: what the detector or a source raised, after events so far were flushed; of
                several cameras the others went on to their end.
        """
        started = time.monotonic()
        timer = self._start_timer()
        failed: set[str] = set()
        self._intake.start()
        try:
            while not self._stopping.is_set() and (taken := self._intake.take()):
                self._tick(taken)
                self._log_failures(failed)
        finally:
            timer.cancel()
            self._intake.close()
            try:
                self._publisher.close()
            finally:
                for camera in self._intake.join(JOIN_SECONDS):
                    log.warning("camera %s hangs in a read and is left behind", camera)
                self._log_failures(failed)
                summary = self._summary(time.monotonic() - started)
                log.info("run ended: %s", asdict(summary))
                report(summary)
        for queue in self._intake.queues.values():
            if queue.error is not None:
                raise queue.error
        return summary

    def _tick(self, taken: dict[str, tuple[Frame, float]]) -> None:
        """One batch from pictures to events."""
        left = (self._limits.frames or float("inf")) - self._metrics.processed
        frames = {camera: frame for n, (camera, (frame, _)) in enumerate(taken.items()) if n < left}
        for camera, (_, waited) in taken.items():
            if camera in frames:
                self._metrics.took("wait", waited)
            else:
                self._intake.queues[camera].late += 1
        started = time.perf_counter()
        found = self._detector.detect({camera: frame.image for camera, frame in frames.items()})
        seconds = (time.perf_counter() - started) / len(frames)
        for camera, frame in frames.items():
            self._metrics.took("detect", seconds)
            self._follow(camera, frame, found[camera], seconds * 1000)
        if self._metrics.processed == self._limits.frames:
            self._stopping.set()

    def _follow(self, camera: str, frame: Frame, found: Detections, inference_ms: float) -> None:
        follower = self._followers[camera]
        with self._metrics.stage("track"):
            tracked = follower.track(frame, found)
        with self._metrics.stage("publish"):
            event = follower.events.build(frame, follower.run.run_id, tracked, inference_ms)
            try:
                self._publisher.publish(follower.events.key, encode(event))
            except PublishError:
                self._metrics.publish_failed()
                raise
        self._metrics.frame_done(camera)
        for observer in follower.stream.observers:
            observer(frame, tracked)

    def _log_failures(self, reported: set[str]) -> None:
        for camera, queue in self._intake.queues.items():
            if queue.error is not None and camera not in reported:
                reported.add(camera)
                log.error("camera %s ended: %s", camera, queue.error)

    def _summary(self, seconds: float) -> InferenceSummary:
        cameras = {
            camera: CameraSummary(
                queue.read,
                self._metrics.processed_of(camera),
                queue.dropped,
                queue.source.reconnects,
            )
            for camera, queue in self._intake.queues.items()
        }
        return InferenceSummary(
            read=sum(c.read for c in cameras.values()),
            processed=self._metrics.processed,
            published=self._publisher.delivered,
            dropped=sum(c.dropped for c in cameras.values()),
            inference_ms=self._metrics.mean_ms("detect"),
            track_ms=self._metrics.mean_ms("track"),
            publish_ms=self._metrics.mean_ms("publish"),
            seconds=round(seconds, 3),
            cameras=cameras,
        )

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
