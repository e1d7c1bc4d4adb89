"""Files, folders and cameras: how they start, go on and end."""

from __future__ import annotations

import itertools
import logging
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from inference_service.footage import draw_clip
from inference_service.frames import SourceError
from inference_service.live import LiveSource, redact
from inference_service.sources import Picker, SourceOptions, open_source

START = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds, 20 frames."""
    return draw_clip(tmp_path_factory.mktemp("clip") / "clip.avi", seconds=2, fps=10)


def test_a_file_gives_every_frame_and_ends(clip: Path) -> None:
    frames = list(open_source(str(clip), SourceOptions(started_at=START)))
    assert [f.index for f in frames] == list(range(20))
    assert frames[-1].captured_at == START + timedelta(seconds=1.9)
    assert frames[0].image.shape == (480, 640, 3)


def test_a_file_is_thinned_to_the_wanted_rate(clip: Path) -> None:
    source = open_source(str(clip), SourceOptions(fps=5, started_at=START))
    frames = list(source)
    assert [f.index for f in frames] == list(range(0, 20, 2))
    assert frames[1].captured_at == START + timedelta(seconds=0.2)
    assert source.fps == 5


@pytest.mark.parametrize(("native", "wanted", "n"), [(30, 10, 10), (25, 10, 10), (10, 30, 10)])
def test_frames_are_picked_evenly(native: float, wanted: float, n: int) -> None:
    picker = Picker(native, wanted)
    picked = [i for i in range(round(native)) if picker.wants(i)]
    assert len(picked) == n
    assert picked[0] == 0
    assert len(set(np.diff(picked))) <= 2


def test_a_loop_goes_on_in_time(clip: Path) -> None:
    source = open_source(str(clip), SourceOptions(loop=True, started_at=START))
    frames = list(itertools.islice(source, 45))
    assert [f.index for f in frames] == list(range(45))
    assert frames[-1].captured_at == START + timedelta(seconds=4.4)


def test_realtime_takes_the_time_of_the_video(clip: Path) -> None:
    began = datetime.now(timezone.utc)
    frames = [
        (f.captured_at, datetime.now(timezone.utc))
        for f in itertools.islice(open_source(str(clip), SourceOptions(realtime=True)), 5)
    ]
    assert all(captured <= seen for captured, seen in frames)
    assert frames[-1][1] - began >= timedelta(seconds=0.4)


def test_closing_ends_a_paced_file(clip: Path) -> None:
    source = open_source(str(clip), SourceOptions(realtime=True, loop=True))
    for frame in source:
        if frame.index == 2:
            source.close()
    assert frame.index == 2


def test_a_missing_file_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^The video .*no\.mp4 does not exist\.$"):
        open_source(str(tmp_path / "no.mp4"))


def test_a_file_that_is_no_video_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SourceError, match=r"^The video .*text\.mp4 cannot be opened: .*\.$"):
        open_source(str(tmp_path / "text.mp4"))


def test_a_video_cut_in_the_middle_ends_cleanly_and_says_so(
    clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with caplog.at_level(logging.INFO):
        frames = list(open_source(str(cut)))
    assert 0 < len(frames) < 20
    assert f"ended at frame {len(frames)} of 20" in caplog.text


def test_a_folder_of_images_comes_in_the_order_of_names(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, shade in (("b.png", 20), ("a.png", 10), ("c.jpg", 30)):
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), shade, np.uint8))
    (tmp_path / "bb.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("left out")
    frames = list(open_source(str(tmp_path), SourceOptions(default_fps=2, started_at=START)))
    assert [int(f.image[0, 0, 0]) for f in frames] == [10, 20, 30]
    assert [f.index for f in frames] == [0, 1, 3]
    assert frames[2].captured_at == START + timedelta(seconds=1.5)
    assert "bb.png cannot be read" in caplog.text


def test_an_empty_folder_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no images"):
        open_source(str(tmp_path))


class FakeCapture:
    """Delivers `frames` pictures, then fails."""

    def __init__(self, frames: int) -> None:
        self.left = frames
        self.released = False

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, Any]:
        return True, np.zeros((4, 4, 3), np.uint8)

    def get(self, propId: int) -> float:  # noqa: N803
        return 30.0

    def release(self) -> None:
        self.released = True


def test_a_lost_camera_is_opened_again_with_growing_pauses() -> None:
    captures = [FakeCapture(2), None, None, None, FakeCapture(3), None]
    openings = iter(captures)
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) == 6

    source = LiveSource("door", lambda: next(openings), base_seconds=1, max_seconds=4, wait=wait)
    frames = list(source)
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    assert pauses == [1, 2, 4, 4, 1, 2]
    assert source.reconnects == 1
    assert all(c.released for c in captures if c)
    assert frames[0].captured_at.tzinfo is timezone.utc


def test_a_camera_that_never_opened_is_an_error_at_once() -> None:
    with pytest.raises(SourceError, match=r"^The camera door cannot be opened\.$"):
        LiveSource("door", lambda: None, base_seconds=1, max_seconds=4)


def test_passwords_are_kept_out_of_logs() -> None:
    assert redact("rtsp://user:p4ss@10.0.0.7:554/main") == "rtsp://10.0.0.7:554/main"
