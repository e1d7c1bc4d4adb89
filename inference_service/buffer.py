"""The bounded queues between decoding and detecting, each filled by a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from inference_service.detections import Image
from inference_service.frames import Frame, FrameSource

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Waiting:
    frame: Frame
    since: float  # time.monotonic()


class FrameQueue:
    """Reads one source ahead of its consumer.

    A recorded source waits while the queue is full: no frame is lost. Of a live source only the
    newest frame is kept: what the consumer was too slow for is dropped, and counted.

    Attributes:
        handed_out: frames that the source could decode.
        late: frames that gave way to a newer one, or were waiting at the end.
        error: what ended the source, when it was not its end.
        ended: nothing more will come.
    """

    def __init__(self, source: FrameSource, capacity: int, changed: threading.Condition) -> None:
        self.source = source
        self.late = self.handed_out = self._shapeless = 0
        self.error: Exception | None = None
        self.ended = False
        self._capacity = 1 if source.live else capacity
        self._frames: deque[_Waiting] = deque()
        self._changed = changed
        self._closed = False
        self.thread = threading.Thread(target=self._fill, name=f"read-{source.name}", daemon=True)

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def read(self) -> int:
        """Frames that the source returned, and those that it could not decode."""
        return self.handed_out + self.source.unreadable

    @property
    def unusable(self) -> int:
        """Frames that could not be decoded, have no area or are not height x width x 3."""
        return self._shapeless + self.source.unreadable

    @property
    def dropped(self) -> int:
        """Frames that were read and not taken."""
        return self.late + self.unusable

    def take(self) -> tuple[Frame, float] | None:
        """The oldest waiting frame and the seconds that it waited, if there is one."""
        with self._changed:
            if not self._frames:
                return None
            waiting = self._frames.popleft()
            self._changed.notify_all()
        return waiting.frame, time.monotonic() - waiting.since

    def close(self) -> None:
        """Stop reading; frames that wait are dropped and counted."""
        with self._changed:
            self._closed = True
            self.late += len(self._frames)
            self._frames.clear()
            self._changed.notify_all()
        self.source.close()

    def _fill(self) -> None:
        try:
            for frame in self.source:
                if not self._put(frame):
                    break
        except Exception as error:
            self.error = error
        finally:
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def _put(self, frame: Frame) -> bool:
        with self._changed:
            self.handed_out += 1
            if not usable(frame.image):
                if not self._shapeless:
                    log.warning("%s: a frame without a picture is left out", self.source.name)
                self._shapeless += 1
                return not self._closed
            if self.source.live and self._frames:
                self._frames.popleft()
                self.late += 1
            self._changed.wait_for(lambda: len(self._frames) < self._capacity or self._closed)
            if self._closed:
                self.late += 1
                return False
            self._frames.append(_Waiting(frame, time.monotonic()))
            self._changed.notify_all()
            return True


class FrameIntake:
    """The queues of several cameras, emptied together.

    Attributes:
        queues: one for each camera id.
    """

    def __init__(self, sources: Mapping[str, FrameSource], capacity: int) -> None:
        self._changed = threading.Condition()
        self._closed = False
        self.queues = {
            camera: FrameQueue(source, capacity, self._changed)
            for camera, source in sources.items()
        }

    def start(self) -> None:
        """Begin to read."""
        for queue in self.queues.values():
            queue.thread.start()

    def take(self) -> dict[str, tuple[Frame, float]]:
        """At most one frame of each camera, with the seconds that it waited.

        Waits until at least one camera has a frame; empty when all have ended, or after `close`.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._closed
                    or any(len(queue) for queue in self.queues.values())
                    or all(queue.ended for queue in self.queues.values())
                )
            )
            taken = {camera: queue.take() for camera, queue in self.queues.items()}
        return {camera: one for camera, one in taken.items() if one is not None}

    def close(self) -> None:
        """Stop reading everywhere; from any thread, any number of times."""
        for queue in self.queues.values():
            queue.close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self, timeout: float) -> list[str]:
        """Wait for the reading threads; returns the cameras that still hang in a read."""
        deadline = time.monotonic() + timeout
        for queue in self.queues.values():
            if queue.thread.ident is not None:
                queue.thread.join(max(0.0, deadline - time.monotonic()))
        return [camera for camera, queue in self.queues.items() if queue.thread.is_alive()]


def usable(image: Image) -> bool:
    """Whether it is a picture at all: height x width x 3, none of them zero."""
    return image.ndim == 3 and image.shape[2] == 3 and image.size > 0
