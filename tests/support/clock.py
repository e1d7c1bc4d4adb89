"""Time in tests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from types import SimpleNamespace
from typing import Generic, TypeVar

import pytest

Time = TypeVar("Time", float, datetime)


@dataclass
class HandClock(Generic[Time]):
    """A clock that tests set."""

    now: Time

    def __call__(self) -> Time:
        return self.now


def commit_by(clock: HandClock[datetime], patch: pytest.MonkeyPatch) -> None:
    """Give the commits of PyIceberg the time of a clock, UTC, until the patch is undone."""

    class Moved(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return clock.now.astimezone(tz)

    seconds = SimpleNamespace(time=lambda: clock().timestamp())
    patch.setattr("pyiceberg.table.snapshots.time", seconds)
    patch.setattr("pyiceberg.table.update.datetime", Moved)
    patch.setattr("pyiceberg.table.metadata.datetime", SimpleNamespace(datetime=Moved))
