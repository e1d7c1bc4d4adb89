"""What OpenCV opens, as frames: a video file, a folder of images; for cameras see `live.py`."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import cv2

from conf.camera_address import redact
from conf.settings import InferenceSettings
from inference_service.containers import MediaClock, measured_fps, read_image, refuse_heic
from inference_service.detections import Image
from inference_service.frames import Frame, FrameSource, Picker, SourceError
from inference_service.live import (
    LiveSource,
    capture_opener,
    grab,
    native_fps,
    retrieve,
)

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)


LONGEST_SECONDS = 7 * 24 * 3600
"""A container that states to be longer does not know its length."""


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source.

    Attributes:
        realtime: a file or folder comes at its own speed instead of as fast as possible.
        loop: a file or folder starts again at its end; time continues.
        latest: a file or folder behaves like a camera: at its own speed, and when the consumer is
            too slow only the newest frame waits for it.
        fps: at most so many frames a second (of the video's time) are returned; None: all.
        every: only every Nth frame is returned; `fps` counts before it.
        live_fps: the same for a live source only, where `fps` is None.
        default_fps: the speed of a source that has none of its own, such as a folder of images.
        started_at: when the first frame of a file or folder counts as taken; None: now, or so long
            before that the last one is taken now where it comes as fast as possible.
    """

    realtime: bool = False
    loop: bool = False
    latest: bool = False
    fps: float | None = None
    every: int = 1
    live_fps: float | None = None
    default_fps: float = 25.0
    started_at: datetime | None = None


class _Recorded:
    """What files and folders share: their pace, loop and end."""

    reconnects = 0
    unreadable = 0

    def __init__(
        self, path: Path, kind: str, fps: float, seconds: float, options: SourceOptions
    ) -> None:
        self.name = path.name
        self.live = options.latest
        self.fps = min(fps, options.fps or fps) / options.every
        self._about = f"The {kind} {path}"
        self._interval = 1 / fps
        self._is_paced = options.realtime or options.latest
        # Streams refuse frames of the future.
        self._ahead = timedelta(seconds=0 if self._is_paced else seconds)
        self._options = options
        self._closed = threading.Event()

    def close(self) -> None:
        self._closed.set()

    def _pass(self) -> Iterator[tuple[float, Callable[[], Image | None]]]:
        """Seconds since the first picture, and what decodes it, for each picture to the end."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Frame]:
        started_at = self._options.started_at or datetime.now(timezone.utc) - self._ahead
        started = time.monotonic()
        for index, seconds, image in self._pictures():
            if self._is_paced:
                # Waiting on the event, so that `close` ends the pause at once.
                self._closed.wait(max(0.0, started + seconds - time.monotonic()))
            if self._closed.is_set():
                return
            yield Frame(image, index, started_at + timedelta(seconds=seconds))

    def _pictures(self) -> Iterator[tuple[int, float, Image]]:
        """The index, seconds and pixels of each picture that is chosen and can be decoded."""
        picker = Picker(self._options.fps, self._options.every)
        index, seconds = 0, -self._interval
        while not self._closed.is_set():
            first, begins, good, broken = index, seconds + self._interval, 0, 0
            for offset, decode in self._pass():
                seconds = begins + offset
                if picker.wants(seconds):
                    image = decode()
                    if image is None:
                        broken += 1
                        self.unreadable += 1
                    else:
                        good += 1
                        yield index, seconds, image
                index += 1
            if index == first or (broken and not good):
                raise SourceError(f"{self._about} holds no picture that can be read.")
            if not self._options.loop:
                return


class FileSource(_Recorded):
    """Every frame of a video file. Ends cleanly at the end, and where the file is broken."""

    def __init__(self, path: Path, options: SourceOptions) -> None:
        if not path.is_file():
            raise SourceError(f"The video {redact(str(path))} does not exist.")
        refuse_heic(path)
        self._path = path
        capture = self._open()
        fps, self._promised = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self._promised_seconds = self._promised / fps if fps > 0 else 0.0
        fps = measured_fps(capture) or native_fps(capture, options.default_fps)
        capture.release()
        length = self._promised_seconds if 0 < self._promised_seconds < LONGEST_SECONDS else 0
        super().__init__(path, "video", fps, length, options)

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise SourceError(f"The video {self._path} cannot be opened: it is not one, or broken.")
        return capture

    def _pass(self) -> Iterator[tuple[float, Callable[[], Image | None]]]:
        capture, clock = self._open(), MediaClock(self._interval)
        frames, seconds, decode = 0, 0.0, partial(retrieve, capture)
        try:
            while not self._closed.is_set() and grab(capture):
                frames += 1
                seconds = clock.seconds(capture.get(cv2.CAP_PROP_POS_MSEC))
                yield seconds, decode
        finally:
            capture.release()
        if not self._closed.is_set():
            self._log_end(frames, seconds)

    def _log_end(self, frames: int, seconds: float) -> None:
        # The number of frames is itself worked out from the length where a container has none.
        is_short = seconds + 2 * self._interval < self._promised_seconds
        if frames < self._promised and is_short:
            log.warning(
                "video %s ended at frame %d of %d: the file is broken or cut short",
                *(self.name, frames, self._promised),
            )
        else:
            log.info("video %s ended after %d frames", self.name, frames)


class FolderSource(_Recorded):
    """The images of a folder in the natural order of their names, at `default_fps`.

    An image that cannot be read is left out, and named in the log once. A pass in which none could
    be read raises `SourceError`.
    """

    def __init__(self, path: Path, options: SourceOptions) -> None:
        files = sorted(filter(Path.is_file, path.iterdir()), key=_natural)
        self._paths = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        others = Counter(f.suffix.lower() for f in files if f not in set(self._paths))
        about = ", ".join(f"{count} {suffix or 'other'}" for suffix, count in others.items())
        if not self._paths:
            found = f", only {about}: convert pictures to JPEG" if about else ""
            raise SourceError(f"The folder {path} holds no images{found}.")
        if about:
            log.warning("folder %s: files that are no images are left out: %s", path.name, about)
        self._logged = set[Path]()
        length = len(self._paths) / options.default_fps
        super().__init__(path, "folder", options.default_fps, length, options)

    def _pass(self) -> Iterator[tuple[float, Callable[[], Image | None]]]:
        for position, path in enumerate(self._paths):
            yield position * self._interval, partial(self._decode, path)

    def _decode(self, path: Path) -> Image | None:
        image = read_image(path)
        if image is None and path not in self._logged:
            self._logged.add(path)
            log.warning("image %s cannot be read, it is left out", path.name)
        return image


def _natural(path: Path) -> list[int | str]:
    """A sort key by which 2.jpg comes before 10.jpg: numbers at the odd places, texts between."""
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def open_source(
    spec: str,
    options: SourceOptions | None = None,
    settings: InferenceSettings | None = None,
    *,
    patient: bool = False,
) -> FrameSource:
    """The source that `spec` names.

    Args:
        spec: a webcam's index, an address such as ``rtsp://...``, a GStreamer pipeline (with
            `` ! ``), a folder of images, or a video file.
        options: how to read it.
        settings: time-out and back-off of a live source.
        patient: a live source that does not open is tried again instead of being an error.

    Raises:
        SourceError: there is no such thing, or it does not open.
    """
    options = options or SourceOptions()
    spec = spec.removeprefix("file://")
    if spec.isdecimal() or "://" in spec or " ! " in spec:
        settings = settings or InferenceSettings()
        return LiveSource(
            redact(spec),
            capture_opener(spec, settings.read_timeout_seconds),
            base_seconds=settings.reconnect_base_seconds,
            max_seconds=settings.reconnect_max_seconds,
            max_fps=options.fps or options.live_fps,
            every=options.every,
            default_fps=options.default_fps,
            patient=patient,
        )
    path = Path(spec).expanduser()
    try:
        return FolderSource(path, options) if path.is_dir() else FileSource(path, options)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
