"""A thread that calls a function at an interval."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Poller(threading.Thread):
    """Call `poll` every `every` seconds until `finish`, and then once more.

    An error of `poll` ends the thread; `finish` raises it.
    """

    def __init__(self, name: str, poll: Callable[[], None], every: float) -> None:
        super().__init__(name=name, daemon=True)
        self._poll, self._every = poll, every
        self._stopping = threading.Event()
        self._error: Exception | None = None

    def run(self) -> None:
        """Poll until stopped."""
        try:
            while not self._stopping.wait(self._every):
                self._poll()
            self._poll()
        except Exception as error:  # raised by finish(), in the thread that calls it
            self._error = error

    def finish(self) -> None:
        """Poll once more, and end; raises the error that ended the thread earlier."""
        self._stopping.set()
        self.join()
        if self._error is not None:
            raise self._error
