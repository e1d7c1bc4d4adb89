"""Adds a layout to a store file, whose comments and other parts do not change."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Sequence
from datetime import timezone
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import AoT, Array, Comment, InlineTable, Table, Whitespace

from conf.settings import SettingsError
from conf.stores import Layout, Line, Stores, Zone, check_tree, parse_tree


class ChangedMeanwhileError(SettingsError):
    """The file is not the one that was read; nothing was written."""


def digest(text: bytes) -> str:
    """What identifies the content of a store file."""
    return hashlib.sha256(text).hexdigest()


def add_layout(path: Path, camera_id: str, layout: Layout, known: str) -> str:
    """Append a layout to one camera of a store file; atomic, one writer at a time.

    Args:
        path: of the store file; a link remains one.
        camera_id: of a camera of the file.
        layout: with a higher version and a later valid_from than the camera's newest one.
        known: `digest` of the file that the layout was made for.

    Returns:
        The digest of the new file.

    Raises:
        ChangedMeanwhileError: the file has another digest.
        SettingsError: the file cannot be written, or would not fit.
    """
    path = path.resolve()
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Read by name: another writer may have replaced the file that this one has open.
            old = path.read_bytes()
            if digest(old) != known:
                raise ChangedMeanwhileError(f"store file {path} has changed meanwhile")
            new = _with_layout(old.decode(), camera_id, layout)
            _check(path, old.decode(), new, camera_id, layout)
            _replace(path, new.encode())
            return digest(new.encode())
    except OSError as error:
        raise SettingsError(f"store file {path} cannot be written: {error.strerror}") from error


def _with_layout(text: str, camera_id: str, layout: Layout) -> str:
    document: Any = tomlkit.parse(text if text.endswith("\n") else f"{text}\n")
    cameras = (c for b in document["branches"] for c in b.get("cameras", ()))
    camera = next(c for c in cameras if c["camera_id"] == camera_id)
    if isinstance(camera.get("redrawn"), Array) or isinstance(camera, InlineTable):
        _append_inline(camera, layout)
    else:
        table = _fill(tomlkit.table(), layout)
        table.add(tomlkit.nl())
        heading = _take_heading(camera)
        if "redrawn" not in camera:
            camera.append("redrawn", tomlkit.aot())
        camera["redrawn"].append(table)
        for item in heading:
            table.add(item)
    return tomlkit.dumps(document)


def _take_heading(table: Any) -> list[Any]:
    """Remove the comments at the end of a table, which belong to the next one, and return them."""
    body = table.value.body
    while body and isinstance(body[-1][1], (Table, AoT)):
        last = body[-1][1]
        body = (last.body[-1] if isinstance(last, AoT) else last).value.body
    blank = [isinstance(item, (Comment, Whitespace)) for _, item in body]
    first = next(
        (n for n, (_, item) in enumerate(body) if all(blank[n:]) and isinstance(item, Comment)),
        len(body),
    )
    heading = [item for _, item in body[first:]]
    del body[first:]
    return heading


def _append_inline(camera: Any, layout: Layout) -> None:
    """To a file that writes layouts as `redrawn = [{ ... }]`."""
    if "redrawn" not in camera:
        camera.append("redrawn", tomlkit.array())
    camera["redrawn"].append(_fill(tomlkit.inline_table(), layout))


def _fill(table: Any, layout: Layout) -> Any:
    moment = layout.valid_from.astimezone(timezone.utc)
    table.append("version", layout.version)
    table.append("valid_from", tomlkit.datetime(f"{moment:%Y-%m-%dT%H:%M:%SZ}"))
    for name, shapes in (("lines", layout.lines), ("zones", layout.zones)):
        if shapes:
            rows = tomlkit.array().multiline(isinstance(table, Table))
            rows.extend(_shape(one) for one in shapes)
            table.append(name, rows)
    return table


def _shape(shape: Line | Zone) -> InlineTable:
    table = tomlkit.inline_table()
    for name, value in shape.model_dump(mode="json", exclude_none=True).items():
        table.append(name, value)
    return table


def _check(path: Path, old: str, new: str, camera_id: str, layout: Layout) -> None:
    """Require that the new text fits, and differs from the old one by the layout only."""
    stores, before = (check_tree(parse_tree(text, path), path) for text in (new, old))
    *others, added = stores.camera(camera_id)[1].redrawn
    if added != layout or _with_redrawn(stores, camera_id, others) != before:
        raise SettingsError(f"store file {path} cannot be edited here: write the layout by hand")


def _with_redrawn(stores: Stores, camera_id: str, layouts: Sequence[Layout]) -> Stores:
    tree = stores.model_dump()
    cameras = (camera for branch in tree["branches"] for camera in branch["cameras"])
    next(c for c in cameras if c["camera_id"] == camera_id)["redrawn"] = layouts
    return Stores.model_validate(tree)


def _replace(path: Path, text: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), path.stat().st_mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
