"""Faults and oddities of a store file: one sentence each, with the names of the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from conf.stores import Branch, Camera, Layout, Line, Stores, Zone, load_stores, read_tree
from conf.stores.reach import (
    against_each_other,
    entered_in_a_row,
    line_out_of_reach,
    zone_out_of_reach,
)

_IDS = {
    "branches": ("branch", "branch_id"),
    "cameras": ("camera", "camera_id"),
    "redrawn": ("layout", "version"),
    "lines": ("line", "line_id"),
    "zones": ("zone", "zone_id"),
    "polygon": ("corner", ""),
}


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
    return [
        oddity
        for branch in stores.branches
        for oddity in (
            *_visitors(stores, branch),
            *_passers_by(stores, branch),
            *_entrances_of_cameras(stores, branch),
            *(o for camera in branch.cameras for o in _camera(stores, camera)),
        )
    ]


def _visitors(stores: Stores, branch: Branch) -> Iterator[str]:
    if not branch.cameras:
        yield f"branch {branch.branch_id} has no camera: its visitors are unknown."
    elif not any(stores.has_line(c, "entrance") for c in branch.cameras):
        yield f"branch {branch.branch_id} has no entrance line: its visitors are unknown."


def _passers_by(stores: Stores, branch: Branch) -> Iterator[str]:
    passing = [c for c in branch.cameras if stores.has_line(c, "passing")]
    for camera in passing:
        if not stores.has_line(camera, "entrance"):
            yield (
                f"camera {camera.camera_id} has a passing line and no entrance line: who passes "
                "it and enters counts as a passer-by, too. Draw the line where the entrance is "
                "in the picture, or where nobody crosses it who enters."
            )
    for camera in branch.cameras:
        if passing and stores.has_line(camera, "entrance") and camera not in passing:
            yield (
                f"camera {camera.camera_id} has no passing line and others of branch "
                f"{branch.branch_id} have one: the capture rate is too high. Draw one, too."
            )


def _entrances_of_cameras(stores: Stores, branch: Branch) -> Iterator[str]:
    """Entrances with lines on several cameras: a track ends with its picture."""
    for one, other in combinations(branch.cameras, 2):
        names = [{x.entrance for x in stores.layouts(c)[-1].lines} for c in (one, other)]
        for name in sorted(filter(None, names[0] & names[1])):
            yield (
                f"cameras {one.camera_id} and {other.camera_id}, entrance {name}: the entries of "
                "both add up, as for ways in side by side. Where one person can be seen crossing "
                'lines of both, give the lines of one camera the kind "count".'
            )


@dataclass(frozen=True)
class Oddity:
    """A probable mistake in a layout: what is wrong, in one clause, with the lines or zones."""

    shapes: tuple[Line | Zone, ...]
    text: str


def _camera(stores: Stores, camera: Camera) -> Iterator[str]:
    """Oddities of the newest layout of a camera."""
    layout = stores.layouts(camera)[-1]
    name = f"camera {camera.camera_id}"
    if not layout.zones:
        also = "" if layout.lines else " and no lines: only its frames are counted"
        yield f"{name} has no zones{also}."
    for oddity in layout_oddities(layout):
        yield f"{name}, {_names(oddity.shapes)}: {oddity.text}."


def _names(shapes: Sequence[Line | Zone]) -> str:
    """Line main; lines inner and outer; zone till."""
    kind = "line" if isinstance(shapes[0], Line) else "zone"
    ids = [shape.line_id if isinstance(shape, Line) else shape.zone_id for shape in shapes]
    return f"{kind}{'s' if len(ids) > 1 else ''} {' and '.join(ids)}"


def layout_oddities(layout: Layout) -> Iterator[Oddity]:
    """Probable mistakes in the lines and zones of one layout."""
    for line in layout.lines:
        if why := line_out_of_reach(line):
            yield Oddity((line,), why)
    for zone in layout.zones:
        if why := zone_out_of_reach(zone):
            yield Oddity((zone,), why)
    entrances = [line for line in layout.lines if line.kind == "entrance"]
    for pair in combinations(entrances, 2):
        yield from (Oddity(pair, why) for why in _two_entrances(*pair))


def _two_entrances(one: Line, other: Line) -> Iterator[str]:
    is_one = one.entrance is not None and one.entrance == other.entrance
    if entered_in_a_row(one, other) and not is_one:
        yield (
            "who walks straight in crosses both and counts as two visitors. Give both "
            'the same entrance, as in entrance = "main", or one of them the kind "count"'
        )
    if against_each_other(one, other):
        yield (
            "they lie together and have opposite directions, so who enters over "
            "one leaves over the other. Exchange a and b of the one that is wrong"
        )


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
    return f"{', '.join(place) or 'the file'}: {fault_text(loc, message, given)}."


def fault_text(loc: tuple[int | str, ...], message: str, given: Any) -> str:
    """The message of a fault of the model, in one clause."""
    message = message.removeprefix("Value error, ")
    if message.startswith("Input should be") and isinstance(given, int | float):
        outside = "polygon" in loc or loc[-2:-1] in {("a",), ("b",)}
        return f"{given} is outside the picture (0..1)" if outside else f"{given}: {message}"
    return "it needs a name" if given == "" else message
