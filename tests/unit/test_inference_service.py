"""The loop: counts, order, stopping, and what happens when a part of it fails."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_service.buffer import FrameBuffer
from inference_service.detections import Detections
from inference_service.detectors.fake import FakeDetector
from inference_service.footage import draw_clip
from inference_service.frames import Frame, SourceError
from inference_service.publishers import PublishError
from inference_service.publishers.memory import MemoryPublisher
from inference_service.service import InferenceService, Limits, stop_on_signals
from inference_service.sources import open_source
from inference_service.tracker import ByteTracker

NOON = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
PERSON = Detections.people([[10, 10, 30, 60]], [0.9])


class ScriptedSource:
    """Small frames, `step` apart; endless without `frames`; runs `before(index)` before each."""

    name = "script"
    fps = 5.0

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


def service(source: Any, publisher: Any, **changes: Any) -> InferenceService:
    parts: dict[str, Any] = {
        "branch_id": "B01",
        "camera_id": "B01-entrance",
        "source": source,
        "detector": FakeDetector([PERSON] * 1000),
        "tracker": ByteTracker(),
        "publisher": publisher,
    }
    return InferenceService(**{**parts, **changes})


def events(publisher: MemoryPublisher) -> list[dict[str, Any]]:
    return [json.loads(value) for _, value in publisher.messages]


def test_every_frame_of_a_file_becomes_an_event_in_order() -> None:
    publisher = MemoryPublisher()
    summary = service(ScriptedSource(200), publisher, queue_frames=3).run()
    assert (summary.read, summary.processed, summary.published, summary.dropped) == (200,) * 3 + (
        0,
    )
    assert [e["frame_index"] for e in events(publisher)] == list(range(200))
    assert {key for key, _ in publisher.messages} == {b"B01/B01-entrance"}
    assert len({d["track_id"] for e in events(publisher) for d in e["detections"]}) == 1
    assert publisher.closed


def test_a_new_day_begins_a_new_run_with_ids_from_one() -> None:
    publisher = MemoryPublisher()
    source = ScriptedSource(8, step=timedelta(hours=3, seconds=1))
    fast = FakeDetector([PERSON] * 8)
    service(source, publisher, detector=fast).run()
    runs = [e["run_id"] for e in events(publisher)]
    assert runs[0] == runs[3]
    assert runs[3] != runs[4]
    assert len(set(runs)) == 2


def test_a_limit_of_frames_ends_an_endless_source() -> None:
    publisher, source = MemoryPublisher(), ScriptedSource()
    summary = service(source, publisher, limits=Limits(frames=7)).run()
    assert summary.processed == summary.published == 7
    assert summary.read == summary.processed + summary.dropped
    assert source.closed.is_set()


def test_a_limit_of_seconds_ends_a_source_that_delivers_nothing() -> None:
    source = ScriptedSource()
    source._before = lambda _: source.closed.wait()
    publisher = MemoryPublisher()
    summary = service(source, publisher, limits=Limits(seconds=0.05)).run()
    assert summary.processed == 0
    assert publisher.closed


def test_a_stop_request_ends_the_loop_and_closes_the_publisher() -> None:
    publisher = MemoryPublisher()
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
    publisher = MemoryPublisher()
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
    buffer = FrameBuffer(source, capacity=64)
    frames = iter(buffer)
    seen = [next(frames).index]
    taken.set()
    all_there.wait()
    assert buffer.join(10)
    seen += [f.index for f in frames]
    assert seen == [0, 9]
    assert (buffer.read, buffer.dropped) == (10, 8)


def test_a_source_that_fails_fails_the_run_after_flushing() -> None:
    def before(index: int) -> None:
        if index == 3:
            raise SourceError("The camera burns.")

    publisher = MemoryPublisher()
    with pytest.raises(SourceError, match="burns"):
        service(ScriptedSource(before=before), publisher).run()
    assert publisher.delivered == 3
    assert publisher.closed


def test_events_that_were_not_acknowledged_fail_the_run() -> None:
    class Refusing(MemoryPublisher):
        def close(self) -> None:
            raise PublishError("2 of 2 events were not acknowledged.")

    with pytest.raises(PublishError, match="not acknowledged"):
        service(ScriptedSource(2), Refusing()).run()


def test_a_drawn_clip_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def pixels(name: str, seed: int) -> list[bytes]:
        path = draw_clip(tmp_path / name, seconds=2, fps=5, seed=seed)
        return [f.image.tobytes() for f in open_source(str(path))]

    assert pixels("a.mp4", 1) == pixels("b.mp4", 1)
    assert pixels("a.mp4", 1) != pixels("c.mp4", 2)
