"""What a deployment has of a generated past: `<var>/seed/state.json`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from conf.errors import StorelakeError
from conf.settings import Settings
from infra.local.state_files import read_state, write_text
from simulator.past.frames import whole_hour
from streaming.sinks.postgres import Database

_FIRST_DATA_SQL = """
    SELECT least((SELECT min(hour) FROM order_metrics), (SELECT min(minute) FROM footfall_minute))
    AS first"""


class SeedError(StorelakeError):
    """The past cannot be sent; the message has the next step."""


class SeedState(msgspec.Struct):
    """What was sent so far.

    Attributes:
        end: of the past (UTC).
        days: day -> None once it was sent whole, else the ends of the topics when it began.
    """

    seed: int
    end: datetime
    days: dict[str, list[tuple[str, int, int]] | None] = {}


def begin_past(
    settings: Settings, db: Database, seed: int, report: Callable[[str], None]
) -> SeedState:
    """The past that was begun, or a new one: up to the present hour, or the first own data."""
    if known := read_state(_file(settings)):
        state = msgspec.convert(known, SeedState)
        if state.seed != seed:
            raise SeedError(
                f"This deployment has the past of seed {state.seed}: `storelake seed --seed "
                f"{state.seed}` extends it, and `storelake reset` deletes all data."
            )
        return state
    now = datetime.now(timezone.utc)
    first: datetime = db.fetch(_FIRST_DATA_SQL)[0]["first"] or now
    end = whole_hour(min(now, first.astimezone(timezone.utc)))
    if end < whole_hour(now):
        report(f"the past ends at {end:%Y-%m-%d %H:%M} UTC, where the deployment's own data begins")
    return SeedState(seed, end)


def note_day(
    settings: Settings, state: SeedState, day: str, begun: list[tuple[str, int, int]] | None
) -> None:
    """Keep that the sending of a day has begun at some ends of topics, or (None) is complete."""
    state.days[day] = begun
    write_text(_file(settings), msgspec.json.encode(state).decode())


def _file(settings: Settings) -> Path:
    return settings.var_dir / "seed" / "state.json"


def has_data(settings: Settings) -> bool:
    """Whether the deployment has counted any order or frame."""
    with closing(Database(settings.postgres.dsn, 2)) as db:
        return db.fetch(_FIRST_DATA_SQL)[0]["first"] is not None
