"""Faults and oddities of a store file: one sentence each, with the names of the file."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from conf.stores import Line, Stores, load_stores, read_tree

_IDS = {
    "branches": ("branch", "branch_id"),
    "cameras": ("camera", "camera_id"),
    "redrawn": ("layout", "version"),
    "lines": ("line", "line_id"),
    "zones": ("zone", "zone_id"),
    "polygon": ("corner", ""),
}
_TOUCHING = 0.01
"""Overlap of two lines, as a share of the picture, below which they only touch at their ends."""


def find_faults(path: Path) -> list[str]:
    """Why the file cannot be used; nothing when it can.

    Raises:
        SettingsError: the file is missing or is not TOML.
    """
    tree = read_tree(path)
    try:
        Stores.model_validate(tree)
    except ValidationError as error:
        found = error.errors()
        # A list whose elements have faults is called too short, too: that is no fault of its own.
        inner = {e["loc"][:n] for e in found for n in range(1, len(e["loc"]))}
        return [
            _sentence(tree, e["loc"], e["msg"], e["input"]) for e in found if e["loc"] not in inner
        ]
    return []


def find_oddities(path: Path) -> list[str]:
    """Probable mistakes in a usable file.

    Raises:
        SettingsError: the file cannot be used.
    """
    stores = load_stores(path)
    oddities = []
    for branch in stores.branches:
        if not branch.cameras:
            oddities.append(f"branch {branch.branch_id} has no camera: its visitors are unknown.")
        elif not any(stores.has_entrance(c) for c in branch.cameras):
            oddities.append(
                f"branch {branch.branch_id} has no entrance line: its visitors are unknown."
            )
        for camera in branch.cameras:
            layout = stores.layouts(camera)[-1]
            if not layout.zones:
                also = "" if layout.lines else " and no lines: only its frames are counted"
                oddities.append(f"camera {camera.camera_id} has no zones{also}.")
            oddities += [
                f"camera {camera.camera_id}, lines {one.line_id} and {other.line_id}: who walks "
                "straight in crosses both and counts as two visitors. Give one of them the kind "
                '"count", or delete it.'
                for one, other in combinations(layout.lines, 2)
                if one.kind == other.kind == "entrance" and entered_in_a_row(one, other)
            ]
    return oddities


def entered_in_a_row(one: Line, other: Line) -> bool:
    """Whether a straight walk can be an entry over both lines, as through a vestibule.

    The ways of their entries must be less than a right angle apart, and the lines must overlap as
    seen along the way between the two. Doors side by side in one wall do not overlap; doors in
    facing walls have entries against each other.
    """
    (x1, y1), (x2, y2) = _inwards(one), _inwards(other)
    if x1 * x2 + y1 * y2 <= 0:
        return False
    length = math.hypot(x1 + x2, y1 + y2)
    across = (-(y1 + y2) / length, (x1 + x2) / length)
    (low1, high1), (low2, high2) = (
        sorted(x * across[0] + y * across[1] for x, y in (line.a, line.b)) for line in (one, other)
    )
    return min(high1, high2) - max(low1, low2) > _TOUCHING


def _inwards(line: Line) -> tuple[float, float]:
    """The direction of an entry, at right angles to the line, of length 1."""
    dx, dy = line.b[0] - line.a[0], line.b[1] - line.a[1]
    length = math.hypot(dx, dy)
    return -dy / length, dx / length


def _sentence(tree: dict[str, Any], loc: tuple[int | str, ...], message: str, given: Any) -> str:
    """A fault of the model, with names instead of numbers."""
    place, node, kind = [], tree, ""
    for step in loc:
        if isinstance(step, int) and kind in _IDS:
            what, name = _IDS[kind]
            node = node[step] if isinstance(node, list) and step < len(node) else {}
            known = node.get(name) if isinstance(node, dict) and name else None
            place.append(f"{what} {known if known is not None else step + 1}")
        elif isinstance(step, str):
            node = node.get(step, {}) if isinstance(node, dict) else {}
            if step not in _IDS:
                place.append(step)
        kind = str(step)
    message = message.removeprefix("Value error, ")
    if message.startswith("Input should be") and isinstance(given, int | float):
        outside = "polygon" in loc or loc[-2:-1] in {("a",), ("b",)}
        message = f"{given} is outside the picture (0..1)" if outside else f"{given}: {message}"
    return f"{', '.join(place) or 'the file'}: {message}."
