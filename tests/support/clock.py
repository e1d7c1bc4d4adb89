"""Time in tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

Time = TypeVar("Time", float, datetime)


@dataclass
class HandClock(Generic[Time]):
    """A clock that tests set."""

    now: Time

    def __call__(self) -> Time:
        return self.now
