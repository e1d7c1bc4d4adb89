"""Health of a query or an interval task: consecutive failures, pauses, state."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from conf.settings import StreamSettings

log = logging.getLogger("storelake.streams")

State = Literal["starting", "running", "retrying", "stalled", "failed"]
STATES: tuple[State, ...] = get_args(State)
"""From the best to the worst: a stream is in the worst state of its parts."""


@dataclass
class Health:
    """Health of one query or interval task.

    A failure is followed by a pause that doubles from `retry_base_seconds` to `retry_max_seconds`.
    After `retries` failures in a row the part is `failed`: it is tried every
    `failed_retry_seconds`, so that it continues by itself once the cause is gone. One that was
    fenced is never tried again.

    Args:
        name: in log lines.
        limits: of all streams.
        clock: seconds, monotonic.
    """

    name: str
    limits: StreamSettings
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    ready: bool = False
    failures: int = 0
    failed_total: int = 0
    finished_total: int = 0
    rows_total: int = 0
    cause: str = ""
    fenced: bool = False
    retry_at: float = 0.0
    busy_since: float | None = None

    def began(self) -> None:
        """A batch or a call begins; it is timed until `finished`, `failed` or `idle`."""
        if self.busy_since is None:
            self.busy_since = self.clock()

    def idle(self) -> None:
        """Nothing is being done."""
        self.busy_since = None

    def finished(self, rows: int = 0) -> None:
        """A batch or a call is over."""
        if self.is_failed:
            log.warning("%s continues after %d failures", self.name, self.failures)
        self.ready, self.failures, self.cause, self.busy_since = True, 0, "", None
        self.finished_total += 1
        self.rows_total += rows

    def failed(self, cause: str) -> None:
        """A start, a batch or a call failed; the log states what follows."""
        self.failures += 1
        self.failed_total += 1
        self.ready, self.cause, self.busy_since = False, cause, None
        pause = self._pause()
        self.retry_at = self.clock() + pause
        if self.failures == self.limits.retries + 1:
            log.error("%s; it is tried every %.0f s", self.sentence, pause)
        elif not self.is_failed:
            log.warning("%s failed, retry in %.1f s: %s", self.name, pause, cause)

    def fence(self, cause: str) -> None:
        """Another application has taken the stream over: it is never tried again."""
        self.fenced, self.ready, self.cause, self.busy_since = True, False, cause, None
        self.failures += 1
        self.failed_total += 1
        log.error("%s", cause)

    @property
    def is_failed(self) -> bool:
        """Whether it failed too often in a row, or was fenced."""
        return self.fenced or self.failures > self.limits.retries

    @property
    def is_due(self) -> bool:
        """Whether the pause after the last failure is over."""
        return not self.fenced and self.clock() >= self.retry_at

    @property
    def busy_seconds(self) -> float:
        """How long the present batch or call has taken; 0 between two."""
        return 0.0 if self.busy_since is None else self.clock() - self.busy_since

    @property
    def state(self) -> State:
        """One of `STATES`."""
        if self.is_failed:
            return "failed"
        if self.busy_seconds > self.limits.stalled_after:
            return "stalled"
        if self.failures:
            return "retrying"
        return "running" if self.ready else "starting"

    @property
    def sentence(self) -> str:
        """What is wrong, for people; empty while nothing is."""
        if self.fenced:
            return self.cause
        if self.is_failed:
            return f"{self.name} failed {self.failures} times in a row: {self.cause}"
        if self.state == "stalled":
            return f"{self.name} has not come to an end for {self.busy_seconds:.0f} s"
        return f"{self.name} failed and is tried again: {self.cause}" if self.failures else ""

    def _pause(self) -> float:
        if self.is_failed:
            return self.limits.failed_retry_seconds
        doubled: float = self.limits.retry_base_seconds * 2 ** (self.failures - 1)
        return min(doubled, self.limits.retry_max_seconds)
