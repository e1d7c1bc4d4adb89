"""Stores as data: branches, their time zones, cameras, lines and zones, versioned.

Coordinates are shares of the picture's width and height (0..1, y downwards), so that a camera may
change its resolution without a new drawing.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from conf.settings import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Point = tuple[Share, Share]
Identifier = Annotated[str, Field(min_length=1, max_length=64)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Line(_Frozen):
    """A directed segment a -> b; crossing it from left to right is an entry.

    Left and right as a person sees them who stands in the picture at a and looks towards b.
    """

    line_id: Identifier
    kind: Literal["entrance", "count"] = "entrance"
    a: Point
    b: Point

    @field_validator("b")
    @classmethod
    def _not_a_point(cls, value: Point, info: ValidationInfo) -> Point:
        if value == info.data.get("a"):
            raise ValueError("a and b are the same point; a line has two ends")
        return value


class Zone(_Frozen):
    """A closed polygon of at least three corners."""

    zone_id: Identifier
    kind: Literal["browse", "queue", "staff"] = "browse"
    polygon: tuple[Point, ...] = Field(min_length=3)


class Camera(_Frozen):
    """One camera and what is drawn on its picture. Key: camera_id, unique over all branches."""

    camera_id: Identifier
    name: str
    fps: float = Field(gt=0, description="Frames a second that the camera is expected to deliver.")
    source: str | None = Field(default=None, description="Address, file, folder or webcam index.")
    lines: tuple[Line, ...] = ()
    zones: tuple[Zone, ...] = ()

    @field_validator("source")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        if value is not None and re.search(r"://[^/\s]*@", value):
            raise ValueError("an address with a password belongs into STORELAKE_INFERENCE__SOURCES")
        return value


class Branch(_Frozen):
    """One shop. Key: branch_id."""

    branch_id: Identifier
    name: str
    region: str
    timezone: str
    currency: str = Field(pattern="^[A-Z]{3}$")
    cameras: tuple[Camera, ...] = ()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"unknown time zone {value!r}") from error
        return value


class Stores(_Frozen):
    """All branches as they are from `valid_from` on."""

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
            twice = sorted({i for i in ids if ids.count(i) > 1})
            if twice:
                raise ValueError(f"{what} is not unique: {', '.join(twice)}")
        return value

    def camera(self, camera_id: str) -> tuple[Branch, Camera]:
        """The camera and its branch; `SettingsError` names the known ones otherwise."""
        for branch in self.branches:
            for camera in branch.cameras:
                if camera.camera_id == camera_id:
                    return branch, camera
        known = ", ".join(c.camera_id for b in self.branches for c in b.cameras)
        raise SettingsError(f"camera {camera_id!r} is unknown; known cameras: {known}")


def load_stores(path: Path) -> Stores:
    """Read and check a store file.

    Raises:
        SettingsError: the file is missing, is not TOML, or does not fit; the message says where.
    """
    try:
        return Stores.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise SettingsError(f"store file {path} does not exist") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"store file {path} is not TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SettingsError(f"store file {path} does not fit: {faults}") from error
