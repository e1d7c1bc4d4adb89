"""What a deployment has of a generated past: `<var>/seed/state.json`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from conf.errors import StorelakeError
from conf.settings import Settings
from conf.stores import Stores, load_stores
from infra.local.state_files import read_state, write_text
from simulator.past.frames import whole_hour
from streaming.sinks.postgres import Database

_FIRST_DATA_SQL = """
    SELECT least((SELECT min(hour) FROM order_metrics), (SELECT min(minute) FROM footfall_minute))
    AS first"""
IN_LAYOUT: dict[str, Any] = {
    "valid_from": True,
    "lines": {"__all__": {"kind", "a", "b"}},
    "zones": {"__all__": {"zone_id", "kind", "polygon"}},
}
"""What moves the people of a past; limits, names and entrances do not."""


class SeedError(StorelakeError):
    """The past cannot be sent; the message has the next step."""


class SeedState(msgspec.Struct):
    """What was sent so far.

    Attributes:
        end: of the past (UTC).
        days: day -> None once it was sent whole, else the ends of the topics when it began.
        stores: digest of the store file when the past was begun; empty in older files.
    """

    seed: int
    end: datetime
    days: dict[str, list[tuple[str, int, int]] | None] = {}
    stores: str = ""


def begin_past(
    settings: Settings, db: Database, seed: int, report: Callable[[str], None]
) -> SeedState:
    """The past that was begun, or a new one: up to the present hour, or the first own data.

    Raises:
        SeedError: the past that was begun has another seed, or other branches.
    """
    stores = load_stores(settings.stores_file)
    if known := read_state(_file(settings)):
        state = msgspec.convert(known, SeedState)
        if state.seed != seed:
            raise SeedError(
                f"This deployment has the past of seed {state.seed}: `storelake seed --seed "
                f"{state.seed}` extends it, and `storelake reset` deletes all data."
            )
        if state.stores not in {"", _digest(stores, state.end)}:
            raise SeedError(
                "The branches, cameras or opening hours of the store file changed after this past "
                "was begun, which cannot be added to it: restore them to extend it, and "
                "`storelake reset` deletes all data."
            )
        return state
    now = datetime.now(timezone.utc)
    first: datetime = db.fetch(_FIRST_DATA_SQL)[0]["first"] or now
    end = whole_hour(min(now, first.astimezone(timezone.utc)))
    if end < whole_hour(now):
        report(f"the past ends at {end:%Y-%m-%d %H:%M} UTC, where the deployment's own data begins")
    return SeedState(seed, end, stores=_digest(stores, end))


def _digest(stores: Stores, end: datetime) -> str:
    """SHA-256 of what a past before `end` depends on in a store file."""
    branches = [
        (
            branch.model_dump_json(include={"branch_id", "timezone", "currency"}),
            [one.model_dump_json() for one in branch.opening_hours],
            [
                (
                    camera.camera_id,
                    [
                        layout.model_dump_json(include=IN_LAYOUT)
                        for layout in stores.layouts(camera)
                        if layout.valid_from < end
                    ],
                )
                for camera in branch.cameras
            ],
        )
        for branch in stores.branches
    ]
    return sha256(msgspec.json.encode(branches)).hexdigest()


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
