"""Files, folders and cameras as sources: their start, their frames, their end."""

from __future__ import annotations

import itertools
import logging
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from conf.camera_address import redact
from conf.settings import InferenceSettings
from conf.stores import Camera
from inference_service.containers import MediaClock
from inference_service.footage import draw_clip
from inference_service.frames import Picker, SourceError
from inference_service.live import LiveSource
from inference_service.sources import FileSource, SourceOptions, open_source
from inference_service.zone_picture import read_background
from tests.support.timed_clip import timed_clip

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


def test_frames_that_come_faster_than_they_were_taken_are_not_from_the_future(
    clip: Path, tmp_path: Path
) -> None:
    for number in range(100):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((4, 4, 3), np.uint8))
    for source in (clip, tmp_path):
        frames = list(open_source(str(source)))
        now = datetime.now(timezone.utc)
        assert all(frame.captured_at <= now for frame in frames)


def test_a_file_is_thinned_to_the_wanted_rate(clip: Path) -> None:
    source = open_source(str(clip), SourceOptions(fps=5, started_at=START))
    frames = list(source)
    assert [f.index for f in frames] == list(range(0, 20, 2))
    assert frames[1].captured_at == START + timedelta(seconds=0.2)
    assert source.fps == 5


def test_every_nth_frame_of_a_file_is_picked(clip: Path) -> None:
    source = open_source(str(clip), SourceOptions(fps=5, every=3))
    assert [f.index for f in source] == [0, 6, 12, 18]
    assert source.fps == pytest.approx(5 / 3)


@pytest.mark.parametrize(("native", "wanted", "n"), [(30, 10, 10), (25, 10, 10), (10, 30, 10)])
def test_frames_are_picked_evenly(native: float, wanted: float, n: int) -> None:
    picker = Picker(wanted)
    picked = [i for i in range(round(native)) if picker.wants(i / native)]
    assert len(picked) == n
    assert picked[0] == 0
    assert len(set(np.diff(picked))) <= 2


def test_the_times_of_a_loop_rise(clip: Path) -> None:
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


def test_a_missing_file_is_reported_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^The video .*no\.mp4 does not exist\.$"):
        open_source(str(tmp_path / "no.mp4"))


def test_a_file_that_is_no_video_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SourceError, match=r"^The video .*text\.mp4 cannot be opened: .*\.$"):
        open_source(str(tmp_path / "text.mp4"))


def test_a_video_cut_in_the_middle_ends_cleanly_with_a_message(
    clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with caplog.at_level(logging.INFO):
        frames = list(open_source(str(cut)))
    assert 0 < len(frames) < 20
    assert f"ended at frame {len(frames)} of 20" in caplog.text


def test_a_video_broken_in_the_middle_never_raises(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.avi"
    content = bytearray(clip.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    broken.write_bytes(content)
    frames = list(open_source(str(broken)))
    assert 0 < len(frames) < 20
    assert [f.index for f in frames] == sorted({f.index for f in frames})


class FakeVideo:
    """A capture without a rate and stamps, whose every frame can be grabbed, and none decoded."""

    def __init__(self, frames: int) -> None:
        self.left = frames

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, Any]:
        return False, None

    def get(self, propId: int) -> float:  # noqa: N803
        return 0.0

    def release(self) -> None: ...


def test_a_video_of_which_no_frame_can_be_decoded_is_reported_in_one_sentence(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(str(clip))
    monkeypatch.setattr(source, "_open", lambda: FakeVideo(3))
    with pytest.raises(SourceError, match="holds no picture that can be read"):
        list(source)


STAMPS = [0, 100, 200, 1000, 1100, 9000]


@pytest.mark.requirement("V1")
def test_frames_have_the_times_of_their_container(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = timed_clip(tmp_path / "varying.mkv", STAMPS)
    assert cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FPS) == 1000  # of a time base
    source = open_source(str(clip), SourceOptions(started_at=START))
    assert [(f.captured_at - START) // timedelta(milliseconds=1) for f in source] == STAMPS
    assert source.fps == 10
    assert "cut short" not in caplog.text


def test_a_varying_rate_is_thinned_by_time(tmp_path: Path) -> None:
    clip = timed_clip(tmp_path / "varying.mkv", [0, 20, 40, 60, 200, 220, 1000, 1200])
    assert [f.index for f in open_source(str(clip), SourceOptions(fps=5))] == [0, 4, 6, 7]


def test_a_container_that_was_cut_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = timed_clip(tmp_path / "whole.mkv", STAMPS)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    assert 0 < len(list(open_source(str(clip)))) < len(STAMPS)
    assert "the file is broken or cut short" in caplog.text


def test_stamps_that_are_missing_or_begin_again_never_set_the_time_back() -> None:
    clock = MediaClock(interval=0.04)
    seconds = [clock.seconds(stamp) for stamp in (0, 100, 0, 100, 100, float("nan"), 300)]
    assert seconds == pytest.approx([0, 0.1, 0.14, 0.24, 0.28, 0.32, 0.36])


def test_a_video_without_a_rate_and_stamps_has_the_rate_of_its_camera(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Untimed(FakeVideo):
        def retrieve(self) -> tuple[bool, Any]:
            return True, np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(FileSource, "_open", lambda _: Untimed(20))
    source = open_source(str(clip), SourceOptions(default_fps=5, started_at=START))
    assert source.fps == 5
    assert [f.captured_at - START for f in source][:3] == [
        timedelta(milliseconds=ms) for ms in (0, 200, 400)
    ]


def test_frames_of_a_file_that_change_their_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    sizes = [(48, 64)] * 3 + [(96, 128)] * 2 + [(48, 64)]
    clip = timed_clip(tmp_path / "sizes.mkv", range(0, 600, 100), sizes)
    assert [f.image.shape[:2] for f in open_source(str(clip))] == [(48, 64)] * 6


def test_the_images_of_a_folder_come_in_the_natural_order(tmp_path: Path) -> None:
    for number in (1, 2, 10, 100):
        picture = np.full((8, 8, 3), number, np.uint8)
        cv2.imwrite(str(tmp_path / f"cam2-{number}.png"), picture)
    frames = list(open_source(str(tmp_path)))
    assert [int(f.image[0, 0, 0]) for f in frames] == [1, 2, 10, 100]


def test_heic_pictures_are_named_and_not_shown_in_tiles(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heic = tmp_path / "IMG_1.HEIC"
    heic.write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(SourceError, match=r"^The folder .* no images, only 1 \.heic: .*\.$"):
        open_source(str(tmp_path))
    with pytest.raises(SourceError, match=r"^The picture .*HEIC is in the format HEIC: .*\.$"):
        open_source(str(heic))
    with pytest.raises(SourceError, match="is in the format HEIC"):
        read_background(heic)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    assert len(list(open_source(str(tmp_path)))) == 1
    assert "left out: 1 .heic" in caplog.text


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


@pytest.mark.timeout(20)
@pytest.mark.parametrize("loop", [False, True], ids=["once", "in a loop"])
def test_a_folder_without_one_readable_image_is_an_error(tmp_path: Path, loop: bool) -> None:
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(b"broken")
    source = open_source(str(tmp_path), SourceOptions(loop=loop))
    with pytest.raises(SourceError, match=r"^The folder .* holds no picture that can be read\.$"):
        list(source)


def test_an_unreadable_image_is_counted_each_time_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"broken")
    source = open_source(str(tmp_path), SourceOptions(loop=True))
    assert [f.index for f in itertools.islice(source, 4)] == [0, 2, 4, 6]
    assert source.unreadable == 3
    assert caplog.text.count("b.png cannot be read") == 1


def test_an_empty_folder_is_reported_in_one_sentence(tmp_path: Path) -> None:
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

    source = LiveSource(
        "entrance", lambda: next(openings), base_seconds=1, max_seconds=4, wait=wait
    )
    frames = list(source)
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    assert pauses == [1, 2, 4, 4, 1, 2]
    assert source.reconnects == 1
    assert all(c.released for c in captures if c)
    assert frames[0].captured_at.tzinfo is timezone.utc


def test_frames_of_a_camera_that_cannot_be_decoded_are_counted() -> None:
    class Garbled(FakeCapture):
        def retrieve(self) -> tuple[bool, Any]:
            return self.left % 2 == 0, np.zeros((4, 4, 3), np.uint8)

    source = LiveSource(
        "entrance", lambda: Garbled(4), base_seconds=1, max_seconds=4, wait=lambda _: True
    )
    assert [frame.index for frame in source] == [1, 3]
    assert source.unreadable == 2


def test_a_camera_that_never_opened_is_an_error_at_once() -> None:
    with pytest.raises(SourceError, match=r"^The camera entrance cannot be opened\.$"):
        LiveSource("entrance", lambda: None, base_seconds=1, max_seconds=4)


def test_a_patient_camera_starts_when_it_comes() -> None:
    openings = iter([None, None, FakeCapture(2), None])
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) == 3

    source = LiveSource(
        "entrance",
        lambda: next(openings),
        base_seconds=1,
        max_seconds=4,
        default_fps=5,
        patient=True,
        wait=wait,
    )
    assert source.fps == 5
    assert [f.index for f in source] == [0, 1]
    assert pauses == [1, 2, 1]


def test_every_nth_frame_of_a_camera_is_decoded() -> None:
    captures = iter([FakeCapture(7), None])
    source = LiveSource(
        "entrance",
        lambda: next(captures),
        base_seconds=1,
        max_seconds=1,
        every=3,
        wait=lambda _: True,
    )
    assert [f.index for f in source] == [0, 3, 6]


class MjpegCamera(ThreadingHTTPServer):
    """A network camera: each connection is sent pictures of one size, then stalls or is cut."""

    def __init__(self, scripts: list[tuple[int, int, bool]]) -> None:
        self.scripts = scripts  # of one connection each: pictures, width, whether it stalls
        self.released = threading.Event()
        super().__init__(("127.0.0.1", 0), MjpegHandler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/video.mjpg"


class MjpegHandler(BaseHTTPRequestHandler):
    server: MjpegCamera

    def do_GET(self) -> None:
        if not self.server.scripts:
            self.send_error(503)
            return
        pictures, width, stalls = self.server.scripts.pop(0)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(pictures):
            image = np.full((width // 2, width, 3), 10 * number, np.uint8)
            content = cv2.imencode(".jpg", image)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(content)}\r\n\r\n"
            self.wfile.write(head.encode() + content + b"\r\n")
        if stalls:
            self.server.released.wait(20)

    def log_message(self, *_: object) -> None: ...


@pytest.mark.requirement("V1")
def test_a_network_camera_that_stalls_and_comes_back_with_another_size_is_read_on() -> None:
    server = MjpegCamera([(6, 64, True), (6, 128, False)])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = InferenceSettings(
        read_timeout_seconds=0.5, reconnect_base_seconds=0.05, reconnect_max_seconds=0.1
    )
    try:
        source = open_source(server.address, SourceOptions(), settings)
        widths = []
        for frame in source:
            widths.append(frame.image.shape[1])
            if widths.count(128) == 3:
                source.close()
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
    assert widths[0] == 64
    assert source.reconnects == 1


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:p4ss@10.0.0.7:554/main", "rtsp://10.0.0.7:554/main"),
        ("rtsp://user:p@ss@10.0.0.7/main", "rtsp://10.0.0.7/main"),
        ("rtsp://user:pa/ss@10.0.0.7/main", "rtsp://10.0.0.7/main"),
        ("rtsp:/user:p4ss@10.0.0.7/main", "rtsp:/10.0.0.7/main"),
        ("rtsp//user:p4ss@10.0.0.7/main", "rtsp//10.0.0.7/main"),
        ("user:p4ss@10.0.0.7:554/main", "10.0.0.7:554/main"),
        (
            "http://10.0.0.7/v?user=admin&password=s3cret&size=2",
            "http://10.0.0.7/v?user=***&password=***&size=2",
        ),
        (
            'rtspsrc location=rtsp://c/1 user-id=a user-pw="s c" ! appsink',
            "rtspsrc location=rtsp://c/1 user-id=*** user-pw=*** ! appsink",
        ),
    ],
)
def test_passwords_are_kept_out_of_logs_and_of_the_store_file(address: str, shown: str) -> None:
    assert redact(address) == shown
    with pytest.raises(ValidationError, match="STORELAKE_INFERENCE__SOURCES"):
        Camera(camera_id="c", name="c", fps=5, source=address)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://10.0.0.7:554/main@2",
        "/videos/a@b.mp4",
        "/videos/10:30/door:1/a@b.mp4",
        "0",
        "http://c/v?keyframe=1",
        "videotestsrc ! video/x-raw,width=64 ! appsink",
    ],
)
def test_an_address_without_a_secret_is_shown_whole(address: str) -> None:
    assert redact(address) == address
    assert Camera(camera_id="c", name="c", fps=5, source=address).source == address


def test_the_password_of_a_misspelt_address_is_kept_out_of_the_error() -> None:
    with pytest.raises(SourceError, match=r"^The video rtsp:/10\.0\.0\.7/main does not exist\.$"):
        open_source("rtsp:/user:p4ss@10.0.0.7/main")


def test_a_camera_that_opens_and_delivers_nothing_is_tried_ever_more_seldom() -> None:
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) == 4

    source = LiveSource(
        "entrance", lambda: FakeCapture(0), base_seconds=1, max_seconds=4, patient=True, wait=wait
    )
    assert list(source) == []
    assert pauses == [1, 2, 4, 4]
    assert source.reconnects == 3
