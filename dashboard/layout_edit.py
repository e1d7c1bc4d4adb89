"""Validation of a layout from the browser, by the rules of the store file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from conf.stores import Layout, Stores
from conf.stores.check import fault_text, layout_oddities

IDS = {"lines": "line_id", "zones": "zone_id"}
MOST_SHAPES, MOST_CORNERS = 100, 200

Shapes = list[dict[str, Any]]


class LayoutEdit(BaseModel):
    """What the browser sends.

    Attributes:
        camera: its id.
        known: digest of the store file that the browser has.
        valid_from: a time without zone by the clock of the branch; empty: now.
        lines: as in the store file.
        zones: the same.
    """

    model_config = ConfigDict(extra="forbid")

    camera: str
    known: str
    valid_from: str = ""
    lines: Shapes = Field(max_length=MOST_SHAPES)
    zones: Shapes = Field(max_length=MOST_SHAPES)


@dataclass(frozen=True)
class Finding:
    """A fault or a probable mistake.

    Attributes:
        text: one clause.
        shapes: places of the lines and zones concerned, such as `lines.0`; none: all, or a field.
        field: the input concerned.
    """

    text: str
    shapes: tuple[str, ...] = ()
    field: str | None = None


@dataclass(frozen=True)
class Checked:
    """Result of a check.

    Attributes:
        layout: to save; None with faults.
        faults: why it cannot be saved.
        notes: probable mistakes; it can be saved.
    """

    layout: Layout | None = None
    faults: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """For the browser."""
        return {
            "faults": [asdict(f) for f in self.faults],
            "notes": [asdict(n) for n in self.notes],
        }


def check_edit(edit: LayoutEdit, stores: Stores, now: datetime) -> Checked:
    """Validate an edit as the next layout of its camera.

    Args:
        edit: of a known camera.
        stores: of the store file.
        now: the present, aware.

    Raises:
        SettingsError: the camera is unknown.
    """
    branch, camera = stores.camera(edit.camera)
    newest = stores.layouts(camera)[-1]
    start = _start(edit.valid_from, ZoneInfo(branch.timezone), now)
    late = _late(start, newest, branch.timezone)
    if large := list(_large(edit)):
        return Checked(faults=[*late, *large])
    try:
        layout = Layout(
            version=newest.version + 1,
            valid_from=start or now,
            lines=edit.lines,
            zones=edit.zones,
        )
    except ValidationError as error:
        return Checked(faults=[*late, *_faults(edit, error)])
    notes = [Finding(o.text, tuple(_places(layout, o.shapes))) for o in layout_oddities(layout)]
    return Checked(None if late else layout, late, notes)


def _start(text: str, zone: ZoneInfo, now: datetime) -> datetime | None:
    """The chosen time, in whole seconds; None for a text that is none."""
    if not text:
        return now.astimezone(timezone.utc).replace(microsecond=0)
    try:
        parsed = datetime.fromisoformat(text)
        local = parsed.replace(tzinfo=zone, microsecond=0)
        moment = local.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
    # A time that a clock skips does not come back as the same.
    is_skipped = moment.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None)
    return None if is_skipped or parsed.tzinfo else moment


def _late(start: datetime | None, newest: Layout, zone: str) -> list[Finding]:
    if start is None:
        return [Finding(f"this is no time in {zone}", field="valid_from")]
    if start > newest.valid_from:
        return []
    since = newest.valid_from.astimezone(ZoneInfo(zone))
    why = f"layout {newest.version} is valid from {since:%Y-%m-%d %H:%M:%S}: choose a later time"
    return [Finding(why, field="valid_from")]


def _large(edit: LayoutEdit) -> Iterator[Finding]:
    """Zones whose edges would take long to compare."""
    for n, zone in enumerate(edit.zones):
        corners = zone.get("polygon")
        if isinstance(corners, list) and len(corners) > MOST_CORNERS:
            text = f"it has more than {MOST_CORNERS} corners"
            yield Finding(text, (f"zones.{n}",), "polygon")


def _faults(edit: LayoutEdit, error: ValidationError) -> Iterator[Finding]:
    found = error.errors()
    # A list whose elements have faults is called too short, too: that is no fault of its own.
    inner = {e["loc"][:n] for e in found for n in range(1, len(e["loc"]))}
    for one in found:
        loc = one["loc"]
        if loc not in inner:
            text = fault_text(loc, one["msg"], one["input"])
            yield Finding(text, tuple(_concerned(edit, loc)), str(loc[2]) if loc[2:] else None)


def _concerned(edit: LayoutEdit, loc: tuple[int | str, ...]) -> Iterator[str]:
    """The shape of a fault; where ids are not unique, all that share theirs."""
    kind = str(loc[0])
    if loc[1:]:
        yield f"{kind}.{loc[1]}"
    elif kind in IDS:
        ids = [shape.get(IDS[kind]) for shape in getattr(edit, kind)]
        yield from (f"{kind}.{n}" for n, one in enumerate(ids) if ids.count(one) > 1)


def _places(layout: Layout, shapes: tuple[Any, ...]) -> Iterator[str]:
    for kind in IDS:
        yield from (f"{kind}.{n}" for n, one in enumerate(getattr(layout, kind)) if one in shapes)
