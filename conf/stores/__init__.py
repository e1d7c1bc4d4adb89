"""Stores as data: branches, their time zones, cameras, lines and zones, versioned.

Coordinates are shares of the picture's width and height (0..1, y downwards), so that a camera may
change its resolution without a new layout.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import datetime, time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from conf.camera_address import has_secret
from conf.settings import SettingsError
from conf.stores.polygons import polygon_fault

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Point = tuple[Share, Share]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


def _without_controls(value: str) -> str:
    # Postgres stores no NUL, and nobody can see or type the others.
    if _CONTROLS.search(value):
        raise ValueError("it has a control character")
    return value


Text = Annotated[str, AfterValidator(_without_controls)]
Identifier = Annotated[Text, Field(min_length=1, max_length=64)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Line(_Frozen):
    """A directed segment a -> b; crossing it from left to right is an entry.

    Left and right as a person sees them who stands in the picture at a and looks towards b.

    Attributes:
        kind: `entrance`: crossings are entries and exits of visitors; `passing`: a line across the
            pavement, both directions are passers-by; `count`: only listed in `line_crossings`.
        entrance: name of the entrance of several lines, as the outer and the inner one of a
            vestibule, or those of two ways in side by side. A person counts once for each passage
            through it, at the first of its lines. None: the line is an entrance of its own.
    """

    line_id: Identifier
    kind: Literal["entrance", "count", "passing"] = "entrance"
    entrance: Identifier | None = None
    a: Point
    b: Point

    @field_validator("entrance")
    @classmethod
    def _entrance_only(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("kind") != "entrance":
            raise ValueError("entrance belongs to a line of the kind entrance")
        return value

    @field_validator("b")
    @classmethod
    def _not_a_point(cls, value: Point, info: ValidationInfo) -> Point:
        if value == info.data.get("a"):
            raise ValueError("a and b are the same point; a line has two ends")
        return value


class Zone(_Frozen):
    """A closed polygon of at least three corners whose edges do not cross.

    Attributes:
        staff_after: seconds in a zone of the kind `staff` after which a track counts as staff, and
            no longer as a visitor; None: nobody does.
        limit: people in a zone of the kind `queue` above which it is too long; None: no limit.
    """

    zone_id: Identifier
    kind: Literal["browse", "queue", "staff"] = "browse"
    polygon: tuple[Point, ...] = Field(min_length=3)
    staff_after: float | None = Field(default=None, gt=0)
    limit: int | None = Field(default=None, gt=0)

    @field_validator("polygon")
    @classmethod
    def _simple(cls, value: tuple[Point, ...]) -> tuple[Point, ...]:
        if fault := polygon_fault(value):
            raise ValueError(fault)
        return value

    @field_validator("staff_after", "limit")
    @classmethod
    def _of_its_kind(cls, value: float | None, info: ValidationInfo) -> float | None:
        kind = {"staff_after": "staff", "limit": "queue"}[info.field_name or ""]
        if value is not None and info.data.get("kind") != kind:
            raise ValueError(f"{info.field_name} belongs to a zone of the kind {kind}")
        return value


class _Layout(_Frozen):
    """Lines and zones on one picture."""

    lines: tuple[Line, ...] = ()
    zones: tuple[Zone, ...] = ()

    @field_validator("lines", "zones")
    @classmethod
    def _ids_once(cls, value: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        name = "line_id" if info.field_name == "lines" else "zone_id"
        twice = _twice([getattr(shape, name) for shape in value])
        if twice:
            raise ValueError(f"{name} is not unique: {', '.join(twice)}")
        return value


class Layout(_Layout):
    """Lines and zones of a camera from `valid_from` until the next layout.

    Key: (camera_id, version).
    """

    version: int = Field(ge=1)
    valid_from: AwareDatetime


class Camera(_Layout):
    """One camera with its lines and zones. Key: camera_id, unique over all branches.

    Attributes:
        lines: of the first layout, which has the file's `version` and `valid_from`.
        zones: the same.
        redrawn: every later layout, whole, oldest first.
    """

    camera_id: Identifier
    name: Text
    fps: float = Field(gt=0, description="Frames a second that the camera is expected to deliver.")
    source: str | None = Field(default=None, description="Address, file, folder or webcam index.")
    redrawn: tuple[Layout, ...] = ()

    @field_validator("source")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        if value is not None and has_secret(value):
            raise ValueError("an address with a password belongs into STORELAKE_INFERENCE__SOURCES")
        return value


class OpeningHours(_Frozen):
    """From when to when a branch is open on some days, by its own clock; midnight ends a day."""

    days: tuple[Day, ...] = DAYS
    opens: time
    closes: time

    @field_validator("closes")
    @classmethod
    def _later(cls, value: time, info: ValidationInfo) -> time:
        opens = info.data.get("opens")
        if opens is not None and value != time(0) and value <= opens:
            raise ValueError("closes must be later than opens, or 00:00 for midnight")
        return value


class Branch(_Frozen):
    """One shop. Key: branch_id.

    Attributes:
        opening_hours: when people may come in; without any it is always open.
    """

    branch_id: Identifier
    name: Text
    region: Text
    timezone: str
    currency: str = Field(pattern="^[A-Z]{3}$")
    cameras: tuple[Camera, ...] = ()
    opening_hours: tuple[OpeningHours, ...] = ()

    def is_open(self, moment: datetime) -> bool:
        """Whether people may be in the shop at a time."""
        local = moment.astimezone(ZoneInfo(self.timezone))
        return not self.opening_hours or any(
            DAYS[local.weekday()] in hours.days
            and hours.opens <= local.time()
            and (hours.closes == time(0) or local.time() < hours.closes)
            for hours in self.opening_hours
        )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"unknown time zone {value!r}") from error
        return value


class Stores(_Frozen):
    """All branches as they are from `valid_from` on, and each camera's layouts over time."""

    version: int = Field(ge=1)
    valid_from: AwareDatetime
    branches: tuple[Branch, ...] = Field(min_length=1)

    @field_validator("branches")
    @classmethod
    def _unique(cls, value: tuple[Branch, ...]) -> tuple[Branch, ...]:
        for what, ids in (
            ("branch_id", [b.branch_id for b in value]),
            ("camera_id", [c.camera_id for b in value for c in b.cameras]),
        ):
            if twice := _twice(ids):
                raise ValueError(f"{what} is not unique: {', '.join(twice)}")
        return value

    @model_validator(mode="after")
    def _layouts_follow_each_other(self) -> Stores:
        for camera in (c for b in self.branches for c in b.cameras):
            layouts = self.layouts(camera)
            for old, new in pairwise(layouts):
                if new.version <= old.version or new.valid_from <= old.valid_from:
                    raise ValueError(
                        f"camera {camera.camera_id}: layout {new.version} must have a higher "
                        f"version and a later valid_from than layout {old.version}"
                    )
        return self

    def layouts(self, camera: Camera) -> tuple[Layout, ...]:
        """All layouts of one of its cameras, oldest first."""
        first = Layout(
            version=self.version,
            valid_from=self.valid_from,
            lines=camera.lines,
            zones=camera.zones,
        )
        return (first, *camera.redrawn)

    def layout_at(self, camera: Camera, moment: datetime) -> Layout | None:
        """The layout that holds for a frame captured then; None before the first."""
        return layout_at(self.layouts(camera), moment)

    def has_line(self, camera: Camera, kind: str) -> bool:
        """Whether any layout of one of its cameras has a line of that kind."""
        return any(line.kind == kind for d in self.layouts(camera) for line in d.lines)

    def camera(self, camera_id: str) -> tuple[Branch, Camera]:
        """The camera and its branch; `SettingsError` names the known ones otherwise."""
        for branch in self.branches:
            for camera in branch.cameras:
                if camera.camera_id == camera_id:
                    return branch, camera
        known = ", ".join(c.camera_id for b in self.branches for c in b.cameras)
        raise SettingsError(f"camera {camera_id!r} is unknown; known cameras: {known}")


def layout_at(layouts: Sequence[Layout], moment: datetime) -> Layout | None:
    """The layout, of those of one camera, that holds at a time; None before the first."""
    return next((d for d in reversed(layouts) if d.valid_from <= moment), None)


def _twice(ids: Sequence[str]) -> list[str]:
    return sorted({i for i in ids if ids.count(i) > 1})


def read_tree(path: Path) -> dict[str, Any]:
    """A store file as it stands, not checked.

    Raises:
        SettingsError: the file is missing, cannot be read or is not TOML.
    """
    try:
        return parse_tree(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError as error:
        raise SettingsError(f"store file {path} does not exist") from error
    except OSError as error:
        raise SettingsError(f"store file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"store file {path} is not TOML: it is not in UTF-8") from error


def parse_tree(text: str, path: Path) -> dict[str, Any]:
    """The same of the text of a file.

    Raises:
        SettingsError: it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"store file {path} is not TOML: {error}") from error


def load_stores(path: Path) -> Stores:
    """Read and check a store file.

    Raises:
        SettingsError: the file is missing, is not TOML, or does not fit; the message states where.
    """
    return check_tree(read_tree(path), path)


def check_tree(tree: dict[str, Any], path: Path) -> Stores:
    """The stores of the parsed text of a file, as `load_stores`."""
    try:
        return Stores.model_validate(tree)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"store file {path} does not fit: {faults}") from error
