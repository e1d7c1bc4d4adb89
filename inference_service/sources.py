"""What OpenCV opens, as frames: a video file, a folder of images; for cameras see `live.py`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np

from conf.settings import InferenceSettings
from inference_service.detections import Image
from inference_service.frames import Frame, FrameSource, SourceError
from inference_service.live import LiveSource, capture_opener, redact

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


@dataclass(frozen=True)
class SourceOptions:
    """How to read a source.

    Attributes:
        realtime: a file or folder comes at its own speed instead of as fast as possible.
        loop: a file or folder starts again at its end; time continues.
        latest: a file or folder behaves like a camera: at its own speed, and when the consumer is
            too slow only the newest frame waits for it.
        fps: at most so many frames a second (of the video's time) are handed out; None: all.
        every: only every Nth frame is handed out; `fps` counts before it.
        live_fps: the same for a live source only, where `fps` is None.
        default_fps: the speed of a source that has none of its own, such as a folder of images.
        started_at: when the first frame of a file counts as taken; None: now.
    """

    realtime: bool = False
    loop: bool = False
    latest: bool = False
    fps: float | None = None
    every: int = 1
    live_fps: float | None = None
    default_fps: float = 25.0
    started_at: datetime | None = None


class Picker:
    """Chooses the frames that bring one rate down to another, evenly and starting at the first."""

    def __init__(self, native: float, wanted: float | None, every: int = 1) -> None:
        self._share = (1.0 if wanted is None else min(1.0, wanted / native)) / every

    def wants(self, index: int) -> bool:
        """Whether frame `index` of the native stream is handed out."""
        # The small addend keeps e.g. 3 * (1 / 3) from falling below 1.
        before = int((index - 1) * self._share + 1e-9) if index else -1
        return int(index * self._share + 1e-9) > before


class _Recorded:
    """What files and folders share: their clock, pace, loop and end.

    Attributes:
        unreadable: pictures so far that could not be decoded, and were left out.
    """

    reconnects = 0
    unreadable = 0

    def __init__(self, name: str, native_fps: float, options: SourceOptions) -> None:
        self.name = name
        self.live = options.latest
        self.fps = min(native_fps, options.fps or native_fps) / options.every
        self._native_fps = native_fps
        self._options = options
        self._paced = options.realtime or options.latest
        self._picker = Picker(native_fps, options.fps, options.every)
        self._closed = threading.Event()

    def close(self) -> None:
        self._closed.set()

    def _pass(self, picked: Callable[[int], bool]) -> Iterator[Image | None]:
        """One image or None (not picked, or unreadable) per position, to the end of the source."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Frame]:
        started_at = self._options.started_at or datetime.now(timezone.utc)
        started = time.monotonic()
        index = 0
        while not self._closed.is_set():
            first = index
            for image in self._pass(lambda i, first=first: self._picker.wants(first + i)):  # type: ignore[misc]
                seconds = index / self._native_fps
                if image is not None:
                    if self._paced:
                        # Waiting on the event, so that `close` ends the pause at once.
                        self._closed.wait(max(0.0, started + seconds - time.monotonic()))
                    if self._closed.is_set():
                        return
                    yield Frame(image, index, started_at + timedelta(seconds=seconds))
                index += 1
            if not self._options.loop or index == first:
                return


class FileSource(_Recorded):
    """Every frame of a video file. Ends cleanly at the end, and where the file is broken."""

    def __init__(self, path: Path, options: SourceOptions) -> None:
        if not path.is_file():
            raise SourceError(f"The video {path} does not exist.")
        self._path = path
        capture = self._open()
        self._promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        usable = bool(np.isfinite(fps)) and 0 < fps <= 1000
        super().__init__(path.name, fps if usable else options.default_fps, options)

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise SourceError(f"The video {self._path} cannot be opened: it is not one, or broken.")
        return capture

    def _pass(self, picked: Callable[[int], bool]) -> Iterator[Image | None]:
        capture = self._open()
        position = good = broken = 0
        try:
            while not self._closed.is_set() and capture.grab():
                image = None
                if picked(position):
                    read, pixels = capture.retrieve()
                    image = np.asarray(pixels, np.uint8) if read else None
                    good, broken = good + read, broken + (not read)
                    self.unreadable += not read
                yield image
                position += 1
        except cv2.error as error:
            log.warning("video %s broke at frame %d: %s", self.name, position, error.err)
        finally:
            capture.release()
        if not self._closed.is_set():
            self._log_end(position, good, broken)

    def _log_end(self, position: int, good: int, broken: int) -> None:
        if position == 0 or (broken and not good):
            raise SourceError(f"The video {self._path} holds no frame that can be decoded.")
        if broken:
            log.warning("video %s: %d frames could not be decoded", self.name, broken)
        if position < self._promised:
            log.warning(
                "video %s ended at frame %d of %d: the file is broken or cut short",
                *(self.name, position, self._promised),
            )
        else:
            log.info("video %s ended after %d frames", self.name, position)


class FolderSource(_Recorded):
    """The images of a folder in the order of their names, at `default_fps`.

    An image that cannot be read is left out, and named in the log once. A pass in which none could
    be read raises `SourceError`.
    """

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self._paths = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not self._paths:
            raise SourceError(f"The folder {path} holds no images.")
        self._path, self._logged = path, set[Path]()
        super().__init__(path.name, options.default_fps, options)

    def _pass(self, picked: Callable[[int], bool]) -> Iterator[Image | None]:
        good = broken = 0
        for position, path in enumerate(self._paths):
            image = None
            if picked(position):
                image = cv2.imread(str(path))
                good, broken = good + (image is not None), broken + (image is None)
                if image is None:
                    self._leave_out(path)
            yield None if image is None else np.asarray(image, np.uint8)
        if broken and not good:
            raise SourceError(f"The folder {self._path} holds no image that can be read.")

    def _leave_out(self, path: Path) -> None:
        self.unreadable += 1
        if path not in self._logged:
            self._logged.add(path)
            log.warning("image %s cannot be read, it is left out", path.name)


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
    return FolderSource(path, options) if path.is_dir() else FileSource(path, options)
