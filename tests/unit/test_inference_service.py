"""The loop: counts, order, stopping, and failures of its parts."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from inference_service.buffer import FrameIntake
from inference_service.detections import Detections
from inference_service.detectors.fake import FakeDetector
from inference_service.footage import draw_clip
from inference_service.frames import Frame, FrameSource, SourceError
from inference_service.metrics import InferenceMetrics
from inference_service.publishers import PublishError
from inference_service.publishers.memory import MemoryEventPublisher
from inference_service.service import CameraStream, InferenceService, Limits, stop_on_signals
from inference_service.sources import SourceOptions, open_source
from inference_service.trackers.bytetrack import ByteTracker

NOON = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
PERSON = Detections.people([[10, 10, 30, 60]], [0.9])


class ScriptedSource:
    """Small frames, `step` apart; endless without `frames`; runs `before(index)` before each."""

    name = "script"
    fps = 5.0
    reconnects = unreadable = 0

    def __init__(
        self,
        frames: int | None = None,
        *,
        live: bool = False,
        step: timedelta = timedelta(seconds=0.2),
        before: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.live = live
        self._frames, self._step, self._before = frames, step, before
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while index != self._frames and not self.closed.is_set():
            self._before(index)
            yield Frame(np.zeros((80, 80, 3), np.uint8), index, NOON + index * self._step)
            index += 1

    def close(self) -> None:
        self.closed.set()


def stream(source: FrameSource, camera: str = "B01-entrance", observer: Any = None) -> CameraStream:
    return CameraStream("B01", camera, source, ByteTracker(), [observer] if observer else [])


def service(source: FrameSource, publisher: Any, observer: Any = None, **changes: Any) -> Any:
    return several([stream(source, observer=observer)], publisher, **changes)


def several(streams: list[CameraStream], publisher: Any, **changes: Any) -> InferenceService:
    detector = FakeDetector([PERSON] * 1000)
    return InferenceService(streams, **{"detector": detector, "publisher": publisher, **changes})


def events(publisher: MemoryEventPublisher) -> list[dict[str, Any]]:
    return [json.loads(value) for _, value in publisher.messages]


@pytest.mark.requirement("V1")
def test_every_frame_of_a_file_becomes_an_event_in_order() -> None:
    publisher = MemoryEventPublisher()
    summary = service(ScriptedSource(200), publisher, queue_frames=3).run()
    assert (summary.read, summary.processed, summary.published, summary.dropped) == (200,) * 3 + (
        0,
    )
    assert [e["frame_index"] for e in events(publisher)] == list(range(200))
    assert {key for key, _ in publisher.messages} == {b"B01/B01-entrance"}
    assert len({d["track_id"] for e in events(publisher) for d in e["detections"]}) == 1
    assert publisher.closed


def test_an_image_that_cannot_be_read_counts_as_read_and_dropped(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((80, 80, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"broken")
    metrics = InferenceMetrics()
    one = service(open_source(str(tmp_path)), MemoryEventPublisher(), metrics=metrics)
    summary = one.run()
    assert (summary.read, summary.processed, summary.dropped) == (2, 1, 1)
    assert b'dropped_total{camera="B01-entrance",reason="unusable"} 1.0' in metrics.render()


def test_a_new_day_begins_a_new_run_with_ids_from_one() -> None:
    publisher = MemoryEventPublisher()
    source = ScriptedSource(8, step=timedelta(hours=3, seconds=1))
    fast = FakeDetector([PERSON] * 8)
    service(source, publisher, detector=fast).run()
    runs = [e["run_id"] for e in events(publisher)]
    assert runs[0] == runs[3]
    assert runs[3] != runs[4]
    assert len(set(runs)) == 2


def test_a_limit_of_frames_ends_an_endless_source() -> None:
    publisher, source = MemoryEventPublisher(), ScriptedSource()
    summary = service(source, publisher, limits=Limits(frames=7)).run()
    assert summary.processed == summary.published == 7
    assert summary.read == summary.processed + summary.dropped
    assert source.closed.is_set()


def test_a_limit_of_seconds_ends_a_source_that_delivers_nothing() -> None:
    source = ScriptedSource()
    source._before = lambda _: source.closed.wait()
    publisher = MemoryEventPublisher()
    summary = service(source, publisher, limits=Limits(seconds=0.05)).run()
    assert summary.processed == 0
    assert publisher.closed


def test_a_stop_request_ends_the_loop_and_closes_the_publisher() -> None:
    publisher = MemoryEventPublisher()
    running: list[InferenceService] = []
    running.append(
        service(
            ScriptedSource(),
            publisher,
            observer=lambda frame, _: running[0].request_stop() if frame.index == 4 else None,
        )
    )
    assert running[0].run().processed == 5
    assert publisher.closed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_loop_and_the_old_handler_comes_back(number: int) -> None:
    publisher = MemoryEventPublisher()
    before = signal.getsignal(number)

    def on_frame(frame: Frame, _: Detections) -> None:
        if frame.index == 2:
            os.kill(os.getpid(), number)

    one = service(ScriptedSource(), publisher, observer=on_frame)
    with stop_on_signals(one):
        summary = one.run()
    assert summary.published == summary.processed >= 3
    assert publisher.closed
    assert signal.getsignal(number) is before


def test_a_slow_reader_of_a_camera_gets_the_newest_frame_and_counts_the_rest() -> None:
    taken, all_there = threading.Event(), threading.Event()

    def before(index: int) -> None:
        if index == 1:
            taken.wait()
        if index == 9:
            all_there.set()

    source = ScriptedSource(10, live=True, before=before)
    intake = FrameIntake({"entrance": source}, capacity=64)
    intake.start()
    seen = [intake.take()["entrance"][0].index]
    taken.set()
    all_there.wait()
    assert intake.join(10) == []
    while frames := intake.take():
        seen.append(frames["entrance"][0].index)
    assert seen == [0, 9]
    queue = intake.queues["entrance"]
    assert (queue.read, queue.late, queue.dropped) == (10, 8, 8)


def test_a_source_that_fails_fails_the_run_after_flushing() -> None:
    def before(index: int) -> None:
        if index == 3:
            raise SourceError("The camera burns.")

    publisher = MemoryEventPublisher()
    with pytest.raises(SourceError, match="burns"):
        service(ScriptedSource(before=before), publisher).run()
    assert publisher.delivered == 3
    assert publisher.closed


def test_events_that_were_not_acknowledged_fail_the_run() -> None:
    class Refusing(MemoryEventPublisher):
        def close(self) -> None:
            raise PublishError("2 of 2 events were not acknowledged.")

    with pytest.raises(PublishError, match="not acknowledged"):
        service(ScriptedSource(2), Refusing()).run()


@pytest.mark.requirement("V1")
def test_several_cameras_are_one_batch_and_keep_their_own_order_runs_and_ids() -> None:
    publisher, detector = MemoryEventPublisher(), FakeDetector([PERSON] * 1000)
    cameras = {"a": 30, "b": 30, "c": 12}
    streams = [stream(ScriptedSource(n), camera) for camera, n in cameras.items()]
    summary = several(streams, publisher, detector=detector).run()
    assert {c: s.processed for c, s in summary.cameras.items()} == cameras
    assert summary.processed == summary.published == 72
    assert ["a", "b", "c"] in detector.batches
    by_camera = {c: [e for e in events(publisher) if e["camera_id"] == c] for c in cameras}
    for camera, n in cameras.items():
        assert [e["frame_index"] for e in by_camera[camera]] == list(range(n))
        assert len({d["track_id"] for e in by_camera[camera] for d in e["detections"]}) == 1
    assert len({e["run_id"] for e in events(publisher)}) == 3


def test_a_camera_that_fails_does_not_stop_the_others_but_fails_the_run() -> None:
    def before(index: int) -> None:
        if index == 2:
            raise SourceError("The camera burns.")

    publisher = MemoryEventPublisher()
    streams = [stream(ScriptedSource(before=before), "a"), stream(ScriptedSource(50), "b")]
    with pytest.raises(SourceError, match="burns"):
        several(streams, publisher).run()
    assert [e["camera_id"] for e in events(publisher)].count("b") == 50


def test_a_frame_without_a_picture_is_left_out_and_counted() -> None:
    class Flawed(ScriptedSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                shape = {1: (0, 80, 3), 2: (80, 80), 3: (80, 80, 1)}.get(frame.index)
                image = frame.image if shape is None else np.zeros(shape, np.uint8)
                yield Frame(image, frame.index, frame.captured_at)

    publisher = MemoryEventPublisher()
    summary = service(Flawed(6), publisher).run()
    assert (summary.read, summary.processed, summary.dropped) == (6, 3, 3)
    assert [e["frame_index"] for e in events(publisher)] == [0, 4, 5]


def test_a_camera_that_changes_its_resolution_begins_a_new_run() -> None:
    class Switching(ScriptedSource):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                side = 80 if frame.index < 4 else 120
                image = np.zeros((side, side, 3), np.uint8)
                yield Frame(image, frame.index, frame.captured_at)

    publisher = MemoryEventPublisher()
    service(Switching(8), publisher).run()
    seen = [(e["run_id"], e["image"]["width"], len(e["detections"])) for e in events(publisher)]
    assert [width for _, width, _ in seen] == [80] * 4 + [120] * 4
    assert [n for *_, n in seen] == [0, 1, 1, 1, 0, 1, 1, 1]  # confirmed again
    assert len({run for run, *_ in seen}) == 2


def test_a_limit_of_frames_holds_for_all_cameras_together() -> None:
    publisher = MemoryEventPublisher()
    streams = [stream(ScriptedSource(), camera) for camera in "abc"]
    summary = several(streams, publisher, limits=Limits(frames=10)).run()
    assert summary.processed == summary.published == 10
    assert summary.read == summary.processed + summary.dropped


def test_a_file_played_as_a_camera_drops_what_is_late(tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "clip.mp4", seconds=1, fps=20)
    source = open_source(str(clip), SourceOptions(latest=True))
    seen = threading.Event()
    publisher = MemoryEventPublisher()
    # The first frame is held until the source has ended: of the others only the last waits.
    summary = service(source, publisher, observer=lambda *_: source_ended(seen)).run()
    assert summary.read == 20
    assert summary.processed + summary.dropped == 20
    assert summary.dropped > 0


def source_ended(seen: threading.Event) -> None:
    """Hold the loop once, until the thread that reads has ended."""
    if not seen.is_set():
        seen.set()
        reader = next(t for t in threading.enumerate() if t.name.startswith("read-"))
        reader.join(10)


def scrape(metrics: InferenceMetrics) -> dict[str, float]:
    lines = [line for line in metrics.render().decode().splitlines() if line[0] != "#"]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@pytest.mark.requirement("V1")
def test_metrics_report_frames_stages_and_events() -> None:
    metrics = InferenceMetrics()
    streams = [stream(ScriptedSource(5), "a"), stream(ScriptedSource(3), "b")]
    several(streams, MemoryEventPublisher(), metrics=metrics).run()
    seen = scrape(metrics)
    prefix = "storelake_inference"
    assert seen[f'{prefix}_frames_read_total{{camera="a"}}'] == 5
    assert seen[f'{prefix}_frames_processed_total{{camera="b"}}'] == 3
    assert seen[f'{prefix}_frames_dropped_total{{camera="a",reason="late"}}'] == 0
    assert seen[f'{prefix}_reconnects_total{{camera="a"}}'] == 0
    assert seen[f'{prefix}_queue_frames{{camera="a"}}'] == 0
    assert seen[f'{prefix}_camera_up{{camera="a"}}'] == 0
    assert seen[f'{prefix}_fps{{camera="a"}}'] == 0.5
    assert seen[f"{prefix}_events_acknowledged_total"] == 8
    assert seen[f"{prefix}_publish_errors_total"] == 0
    for stage in ("wait", "detect", "track", "publish"):
        assert seen[f'{prefix}_stage_seconds_count{{stage="{stage}"}}'] == 8


def test_an_event_that_is_not_taken_counts_as_an_error() -> None:
    class Full(MemoryEventPublisher):
        def publish(self, key: bytes, value: bytes) -> None:
            raise PublishError("No room.")

    metrics = InferenceMetrics()
    with pytest.raises(PublishError, match="No room"):
        service(ScriptedSource(3), Full(), metrics=metrics).run()
    assert scrape(metrics)["storelake_inference_publish_errors_total"] == 1


def test_a_rendered_clip_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def pixels(name: str, seed: int) -> list[bytes]:
        path = draw_clip(tmp_path / name, seconds=2, fps=5, seed=seed)
        return [f.image.tobytes() for f in open_source(str(path))]

    assert pixels("a.mp4", 1) == pixels("b.mp4", 1)
    assert pixels("a.mp4", 1) != pixels("c.mp4", 2)
