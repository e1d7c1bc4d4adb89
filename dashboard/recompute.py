"""What it costs to count again since a layout is valid, and the command for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from conf.settings import Settings
from dashboard.reader import ReadSnapshot

HOUR = timedelta(hours=1)
LONGEST_RUN = timedelta(days=1)
"""Runs are followed from their first frame on (`streaming.recompute.cameras`)."""
START_SECONDS, FRAMES_A_SECOND = 20.0, 10_000
"""Of `storelake restate cameras`: on 2 shared cores 9,000 frames with three people each took 1.4 s
after the start of Spark, 36,000 took 3.9 s."""

_FRAMES_SQL = """
    SELECT coalesce(sum(frames), 0)::bigint AS frames FROM footfall_minute
    WHERE minute >= %(start)s AND minute < %(end)s"""


@dataclass(frozen=True)
class Recomputation:
    """A recomputation of finished hours.

    Attributes:
        command: to run.
        start: the first hour, UTC.
        end: the hour after the last one.
        not_before: when the command can run, as an hour that is not over cannot be recomputed.
        frames: of all cameras that it reads; None where they are not known.
        minutes: about how long it takes; None likewise.
    """

    command: str
    start: str
    end: str
    not_before: str | None
    frames: int | None
    minutes: int | None

    def answer(self) -> dict[str, Any]:
        """For the browser."""
        return asdict(self)


def recompute_since(
    settings: Settings, snapshot: ReadSnapshot | None, since: datetime, now: datetime
) -> Recomputation | None:
    """The recomputation of the hours that have frames from before a layout.

    Args:
        settings: how long detections are kept.
        snapshot: of the database; None: it does not answer.
        since: from when on the layout is valid, UTC.
        now: the present, UTC.

    Returns:
        None where the layout is valid from now on or later.
    """
    if since >= now.replace(microsecond=0):
        return None
    start, end = max(_hour(since), _oldest(settings, now)), _hour(now)
    not_before = None
    if start >= end:
        end = not_before = start + HOUR
    frames = _frames(snapshot, start - LONGEST_RUN, end) if snapshot else None
    seconds = START_SECONDS + frames / FRAMES_A_SECOND if frames is not None else None
    return Recomputation(
        f"storelake restate cameras --from {start:%Y-%m-%dT%H:%MZ} --to {end:%Y-%m-%dT%H:%MZ}",
        _text(start),
        _text(end),
        _text(not_before) if not_before else None,
        frames,
        max(1, round(seconds / 60)) if seconds is not None else None,
    )


def _oldest(settings: Settings, now: datetime) -> datetime:
    """The first whole hour whose detections are kept."""
    if not settings.retention.enabled:
        return datetime.min.replace(tzinfo=now.tzinfo)
    return _hour(now - settings.retention.detections) + HOUR


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _frames(snapshot: ReadSnapshot, start: datetime, end: datetime) -> int:
    (row,) = snapshot.ask(_FRAMES_SQL, {"start": start, "end": end})
    return int(row.frames)
