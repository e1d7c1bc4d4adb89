"""State files below <var>/run: written whole or not at all, and read with three outcomes.

A file is absent, readable or unreadable. Absent means that there is no such state. Unreadable (cut
off, garbage, of another shape, a folder in its place, closed to this user) means that the state is
not known: the caller finds it elsewhere, or refuses with `UnreadableStateError`.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.errors import ServiceError


class UnreadableStateError(ServiceError):
    """A state file is there and cannot be read; the message names it and the next step."""


def write_text(file: Path, text: str) -> None:
    """Replace a file as a whole: after a crash at any moment the old or the new text is there.

    Args:
        file: in a folder that is made where it is missing. A folder in its place is set aside.
        text: its new content, in UTF-8; for its owner only from its first moment on.

    Raises:
        OSError: the disk is full, or the folder is closed to this user.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".tmp", dir=file.parent)
    scratch = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        _set_aside(file)
        scratch.replace(file)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    _sync_folder(file.parent)


def write_state(file: Path, state: Mapping[str, Any]) -> None:
    """Replace a state file with a JSON object, as `write_text` does."""
    write_text(file, json.dumps(state))


def read_state(file: Path) -> dict[str, Any] | None:
    """The JSON object in a state file; None where there is no file.

    Raises:
        UnreadableStateError: it is no JSON object, or cannot be read.
    """
    try:
        state = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no whole JSON"
        raise unreadable(file, str(reason)) from error
    if not isinstance(state, dict):
        raise unreadable(file, f"a {type(state).__name__} in place of an object")
    return state


def unreadable(file: Path, reason: str) -> UnreadableStateError:
    """The error about a state file whose content cannot be used."""
    return UnreadableStateError(
        f"The state file {file} cannot be read ({reason}): run `storelake status`; when nothing of "
        f"this deployment runs any more, delete the file."
    )


def remove_state(file: Path) -> None:
    """Delete a state file; a folder in its place is set aside, and an absent file is none."""
    _set_aside(file)
    file.unlink(missing_ok=True)


def _set_aside(file: Path) -> None:
    """Give a folder that lies in a file's place another name: it is not ours to delete."""
    if file.is_dir() and not file.is_symlink():
        file.rename(file.with_name(f"{file.name}.{time.time_ns()}.aside"))


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; not every file system lets a folder be opened for that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
