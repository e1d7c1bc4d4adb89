"""Memory of the driver's Python: what batches have freed goes back to the system.

A batch of large messages is in memory several times for a moment: as Arrow columns, and as Python
bytes in the threads of its sinks. Both allocators keep what is freed: Arrow's pool its pages, glibc
the holes between what is still in use, in an arena for each thread. Without this a driver grew from
170 to 920 MB in 20,000 messages of 10 to 100 KB, of which 50 MB were in use.
"""

from __future__ import annotations

import ctypes
import logging
import time

import psutil
import pyarrow as pa

log = logging.getLogger(__name__)

GROWTH_BYTES = 64 * 1024 * 1024
"""It costs some milliseconds to give memory back, so not before there is more than this."""


class FreedMemory:
    """Gives back what this process has freed, once it has grown by 64 MB since the last time."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        # Of glibc; another C library has nothing of the kind.
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._least = self._process.memory_info().rss

    def give_back(self) -> None:
        """Cheap where nothing is to be given back; to be called every so often, by one thread."""
        before = self._process.memory_info().rss
        self._least = min(self._least, before)
        if before < self._least + GROWTH_BYTES:
            return
        began = time.monotonic()
        pa.default_memory_pool().release_unused()
        if self._trim is not None:
            self._trim(0)
        self._least = self._process.memory_info().rss
        log.debug(
            "gave %d MB back in %.0f ms, %d MB resident",
            (before - self._least) // 1_000_000,
            (time.monotonic() - began) * 1000,
            self._least // 1_000_000,
        )
