"""Status of the streams while the application runs: `<var>/run/streams.json`, and metrics.

A thread of its own writes it, so it also reports when everything else hangs.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from socket import gethostname
from typing import Any

from conf.settings import Settings
from streaming.runtime.health import STATES, Health, State
from streaming.runtime.metrics import StreamMetrics

log = logging.getLogger("storelake.streams")

REPORT_SECONDS = 0.5

Parts = Callable[[str], tuple[Health | None, list[Health]]]
"""stream -> (health of its query, None without one; health of its interval tasks)."""


class StreamsReport:
    """Writes the state of every stream, twice a second.

    Args:
        settings: the folder, and after how long a stream is stalled.
        metrics: receive the same states.
        streams: their names.
        parts: health of the parts of a stream.
        ui: URL of Spark's web UI; None without one.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: StreamMetrics,
        streams: Sequence[str],
        parts: Parts,
        ui: str | None = None,
    ) -> None:
        self._ui = ui
        self._folder = settings.var_dir / "run"
        self._stalled_after = settings.streams.stalled_after
        self._metrics, self._streams, self._parts = metrics, streams, parts
        self._watched_at = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._watched_at = time.monotonic()
        self._try_to_write()
        self._thread.start()

    def watched(self) -> None:
        """Record that the runner has checked every query: Spark's JVM answers."""
        self._watched_at = time.monotonic()

    def stop(self) -> None:
        """Stop writing, and delete the file."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        (self._folder / "streams.json").unlink(missing_ok=True)

    def state(self, stream: str) -> dict[str, Any]:
        """State of a stream.

        Returns:
            state: one of `STATES`; detail: a sentence, empty while nothing is wrong; ready; batches
            and rows since the start (`settled`: calls of the interval task of that name);
            `failures` in a row and `failed_batches` in all.
        """
        query, tasks = self._parts(stream)
        parts = [query, *tasks] if query else tasks
        state, detail = _worst(parts)
        silent = time.monotonic() - self._watched_at
        if query and silent > self._stalled_after and state != "failed":
            state, detail = "stalled", f"Spark's JVM has not answered for {silent:.0f} s"
        first = query or tasks[0]
        on_interval = next((h for h in tasks if h.name.endswith("(interval)")), None)
        return {
            "state": state,
            "detail": detail,
            "ready": all(h.ready for h in parts),
            "finished_batches": first.finished_total,
            "finished_rows": first.rows_total,
            "settled": on_interval.finished_total if on_interval else None,
            "failed_batches": sum(h.failed_total for h in parts),
            "failures": max(h.failures for h in parts),
        }

    def write(self) -> None:
        """Replace the file by the present states."""
        streams = {name: self.state(name) for name in self._streams}
        for name, reported in streams.items():
            self._metrics.is_up(name, reported["ready"])
            self._metrics.state(name, reported["state"])
        who = {"host": gethostname(), "pid": os.getpid(), "at": time.time(), "ui": self._ui}
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f"streams.{os.getpid()}.tmp"
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({**who, "streams": streams}, file)
            file.flush()
            os.fsync(file.fileno())  # after a power loss either file is complete
        fresh.replace(self._folder / "streams.json")

    def _run(self) -> None:
        while not self._over.wait(REPORT_SECONDS):
            self._try_to_write()

    def _try_to_write(self) -> None:
        try:
            self.write()
        except OSError as error:  # a full disk must not end a stream
            log.warning("streams.json cannot be written: %s", error)


def _worst(parts: Sequence[Health]) -> tuple[State, str]:
    """The worst state among the parts of a stream, with its sentence."""
    worst = max(parts, key=lambda health: STATES.index(health.state))
    return worst.state, worst.sentence
