"""Cameras: RTSP, HTTP, webcams and GStreamer pipelines. A lost one is opened again, for ever."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any, Protocol

import cv2
import numpy as np

from inference_service.detections import Image
from inference_service.frames import Frame, Picker, SourceError

log = logging.getLogger(__name__)

MAX_FPS = 240.0


class Capture(Protocol):
    """The part of `cv2.VideoCapture` that is used."""

    def grab(self) -> bool:
        """Fetch the next frame, undecoded; False when there is none."""
        ...

    def retrieve(self) -> tuple[bool, Any]:
        """Decode the frame that was fetched."""
        ...

    def get(self, propId: int) -> float:  # noqa: N803 - OpenCV's own name
        """A property, such as `cv2.CAP_PROP_FPS`; 0 when unknown."""
        ...

    def release(self) -> None:
        """Close the device."""
        ...


class LiveSource:
    """Frames as they come, stamped with the clock when they are grabbed.

    A stream that ends, breaks or stalls is opened again after `base_seconds`, then after twice as
    long each time up to `max_seconds`, until `close`. When the first opening fails it raises
    `SourceError` at once (most likely a wrong address); a `patient` source opens only when it is
    read, and keeps trying.

    Attributes:
        reconnects: how often it was opened again with success.
    """

    live = True

    def __init__(
        self,
        name: str,
        opener: Callable[[], Capture | None],
        *,
        base_seconds: float,
        max_seconds: float,
        max_fps: float | None = None,
        every: int = 1,
        default_fps: float = 25.0,
        patient: bool = False,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.name = name
        self.reconnects = self.unreadable = 0
        self._opener = opener
        self._base_seconds, self._max_seconds = base_seconds, max_seconds
        self._picker = Picker(max_fps, every)
        self._closed = threading.Event()
        self._pause = base_seconds
        self._wait = wait or self._closed.wait
        self._capture = None if patient else opener()
        if self._capture is None and not patient:
            raise SourceError(f"The camera {name} cannot be opened.")
        native = native_fps(self._capture, default_fps) if self._capture else default_fps
        self.fps = min(native / every, max_fps or float("inf"))

    def close(self) -> None:
        """End the iteration soon; a pending read ends with its time-out."""
        self._closed.set()

    def __iter__(self) -> Iterator[Frame]:
        index, started = 0, time.monotonic()
        try:
            if self._capture is None:
                self._capture = self._opener()
            while (capture := self._connected()) is not None:
                if not grab(capture):
                    log.warning("camera %s was lost after %d frames", self.name, index)
                    self._drop()
                    continue
                self._pause = self._base_seconds
                captured_at = datetime.now(timezone.utc)
                if self._picker.wants(time.monotonic() - started):
                    image = retrieve(capture)
                    if image is None:
                        self.unreadable += 1
                    else:
                        yield Frame(image, index, captured_at)
                index += 1
        finally:
            self._drop()

    def _connected(self) -> Capture | None:
        """The open capture, after as many tries as it takes; None once closed.

        Pauses grow until a frame comes: a camera may open and deliver none.
        """
        while not self._closed.is_set():
            if self._capture is not None:
                return self._capture
            log.warning("camera %s is not there; next try in %.1f s", self.name, self._pause)
            if self._wait(self._pause):
                break
            self._capture = self._opener()
            self.reconnects += self._capture is not None
            self._pause = min(self._pause * 2, self._max_seconds)
        return None

    def _drop(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def grab(capture: Capture) -> bool:
    """Fetch the next frame; False at the end, and where the stream is broken."""
    try:
        return capture.grab()
    except cv2.error:
        return False


def retrieve(capture: Capture) -> Image | None:
    """Decode the frame that was fetched; None when it cannot be decoded."""
    try:
        read, pixels = capture.retrieve()
    except cv2.error:
        return None
    return np.asarray(pixels, np.uint8) if read else None


def native_fps(capture: Capture, default: float) -> float:
    """The rate that a capture reports; `default` for none, or for a time base such as 1000."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    return fps if 0 < fps <= MAX_FPS else default


def capture_opener(spec: str, timeout_seconds: float) -> Callable[[], Capture | None]:
    """Opens a webcam's index, an address or a GStreamer pipeline; None where that fails.

    Args:
        spec: what to open.
        timeout_seconds: so long an address may send nothing, while opening or reading.
    """

    def opener() -> Capture | None:
        if spec.isdecimal():
            capture = cv2.VideoCapture(int(spec))
        elif " ! " in spec:
            capture = cv2.VideoCapture(spec, cv2.CAP_GSTREAMER)
        else:
            # Without these FFmpeg waits half a minute for a camera that is gone.
            limit = round(timeout_seconds * 1000)
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
            capture = cv2.VideoCapture(spec, cv2.CAP_FFMPEG, limits)
        if capture.isOpened():
            return capture
        capture.release()
        return None

    return opener
