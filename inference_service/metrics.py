"""What Prometheus reads of the inference service: counts by camera, time by stage."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference_service.buffer import FrameIntake
from inference_service.publishers import Counts

if TYPE_CHECKING:
    from inference_service.publishers import EventPublisher

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_FPS_WINDOW = 10.0  # seconds that the rate looks back


class InferenceMetrics(Collector):
    """The meters of one service, in a registry of their own.

    Stages: ``wait`` (in the queue behind the decoder), ``detect`` (a frame's share of its batch),
    ``track``, ``publish`` (building the event and handing it over, back-pressure included).
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = Histogram(
            "storelake_inference_stage_seconds",
            "Time of a frame in each stage.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._seconds: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._processed: Counter[str] = Counter()
        self._done: dict[str, deque[float]] = {}
        self._publish_errors = 0
        self._intake: FrameIntake | None = None
        self._publisher: EventPublisher | None = None
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def watch(self, intake: FrameIntake, publisher: EventPublisher) -> None:
        """Report the queues and the publisher, too."""
        self._intake, self._publisher = intake, publisher
        self._done = {camera: deque() for camera in intake.queues}

    @property
    def processed(self) -> int:
        """Frames of all cameras that became events."""
        return self._processed.total()

    def processed_of(self, camera: str) -> int:
        """Frames of one camera that became events."""
        return self._processed[camera]

    def took(self, stage: str, seconds: float) -> None:
        """One frame spent so long in a stage."""
        self._stages.labels(stage).observe(seconds)
        self._seconds[stage] += seconds  # type: ignore[assignment] # a Counter holds floats, too
        self._counts[stage] += 1

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block, unless it raises."""
        started = time.perf_counter()
        yield
        self.took(name, time.perf_counter() - started)

    def mean_ms(self, stage: str) -> float:
        """Mean time of a frame in a stage so far, in milliseconds."""
        return round(1000 * self._seconds[stage] / max(1, self._counts[stage]), 3)

    def frame_done(self, camera: str) -> None:
        """A frame became an event that the publisher took over."""
        self._processed[camera] += 1
        now, done = time.monotonic(), self._done[camera]
        done.append(now)
        while done[0] < now - _FPS_WINDOW:
            done.popleft()

    def publish_failed(self) -> None:
        """The publisher refused an event."""
        self._publish_errors += 1

    def collect(self) -> Iterator[Metric]:
        """The state at this moment; called by the registry."""
        if self._intake is None or self._publisher is None:
            return
        queues = self._intake.queues.items()
        yield _counter("frames_read", "Frames that came.", {c: q.read for c, q in queues})
        yield _counter("frames_processed", "Frames that became events.", self._processed)
        dropped = CounterMetricFamily(
            "storelake_inference_frames_dropped",
            "Frames that came and were not processed: too late, or no picture.",
            labels=("camera", "reason"),
        )
        for camera, queue in queues:
            dropped.add_metric((camera, "late"), queue.late)
            dropped.add_metric((camera, "unusable"), queue.unusable)
        yield dropped
        yield _counter(
            "reconnects", "Sources opened again.", {c: q.source.reconnects for c, q in queues}
        )
        yield _gauge("queue_frames", "Decoded frames waiting.", {c: len(q) for c, q in queues})
        yield _gauge("camera_up", "1 until its source ends.", {c: not q.ended for c, q in queues})
        since = time.monotonic() - _FPS_WINDOW
        rates = {
            camera: sum(at >= since for at in list(done)) / _FPS_WINDOW
            for camera, done in self._done.items()
        }
        yield _gauge("fps", "Frames processed a second, over 10 s.", rates)
        yield CounterMetricFamily(
            "storelake_inference_events_acknowledged",
            "Events that the broker has.",
            self._publisher.delivered,
        )
        counts = getattr(self._publisher, "counts", Counts())  # only those of brokers have some
        yield CounterMetricFamily(
            "storelake_inference_publish_errors",
            "Events not taken over, and failed attempts to hand one to the broker.",
            self._publish_errors + counts.errors,
        )
        yield CounterMetricFamily(
            "storelake_inference_publish_waits", "Waits for room to buffer.", counts.waits
        )
        yield GaugeMetricFamily(
            "storelake_inference_events_on_disk",
            "Events on disk until the broker is back.",
            counts.on_disk,
        )

    def render(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


def _counter(name: str, text: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"storelake_inference_{name}", text, labels=("camera",))
    for camera, value in values.items():
        family.add_metric((camera,), value)
    return family


def _gauge(name: str, text: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(f"storelake_inference_{name}", text, labels=("camera",))
    for camera, value in values.items():
        family.add_metric((camera,), value)
    return family
