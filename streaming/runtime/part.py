"""The interface of what runs for streams side by side: queries and periodic tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streaming.runtime.health import Health


class Part(Protocol):
    """A query of Spark, or a task that a thread calls periodically."""

    health: Health

    @property
    def serves(self) -> Sequence[str]:
        """Names of its streams."""

    def fence(self, stream: str, cause: str) -> None:
        """Write no more for a stream that another application has taken over."""

    def stop(self) -> None:
        """End after the batch or the call that is running."""
