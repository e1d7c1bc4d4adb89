"""The bounded queue between decoding and detecting, filled by a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from inference_service.frames import Frame, Source


class FrameBuffer:
    """Reads a source ahead of its consumer.

    A recorded source waits while the buffer is full: no frame is lost. Of a live source only the
    newest frame is kept: what the consumer was too slow for is dropped, and counted.

    Attributes:
        read: frames that the source handed out.
        dropped: frames of them that the consumer never saw.
    """

    def __init__(self, source: Source, capacity: int) -> None:
        self.read = 0
        self.dropped = 0
        self._source = source
        self._capacity = 1 if source.live else capacity
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fill, name=f"read-{source.name}", daemon=True)

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the source ends or `close`; what the source raised is raised here."""
        self._thread.start()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._frames or self._ended or self._closed)
                if self._closed or not self._frames:
                    break
                frame = self._frames.popleft()
                self._changed.notify_all()
            yield frame
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop reading; frames that wait are dropped and counted. From any thread."""
        with self._changed:
            self._closed = True
            self.dropped += len(self._frames)
            self._frames.clear()
            self._changed.notify_all()
        self._source.close()

    def join(self, timeout: float) -> bool:
        """Wait for the reading thread; False when it still hangs in a read."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _fill(self) -> None:
        try:
            for frame in self._source:
                if not self._put(frame):
                    break
        except Exception as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, frame: Frame) -> bool:
        with self._changed:
            self.read += 1
            if self._source.live and self._frames:
                self._frames.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: len(self._frames) < self._capacity or self._closed)
            if self._closed:
                self.dropped += 1
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True
