"""What is wrong with a store file, or odd about it: one sentence each, in the words of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from conf.stores import Stores, load_stores, read_tree

_IDS = {
    "branches": ("branch", "branch_id"),
    "cameras": ("camera", "camera_id"),
    "redrawn": ("drawing", "version"),
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
    """What a usable file says that may be a mistake.

    Raises:
        SettingsError: the file cannot be used.
    """
    stores = load_stores(path)
    said = []
    for branch in stores.branches:
        if not branch.cameras:
            said.append(f"branch {branch.branch_id} has no camera: its visitors are unknown.")
        elif not any(stores.has_entrance(c) for c in branch.cameras):
            said.append(
                f"branch {branch.branch_id} has no entrance line: its visitors are unknown."
            )
        for camera in branch.cameras:
            drawing = stores.drawings(camera)[-1]
            if not drawing.zones:
                also = "" if drawing.lines else " and no lines: only its frames are counted"
                said.append(f"camera {camera.camera_id} has no zones{also}.")
    return said


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
