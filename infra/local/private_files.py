"""Everything below <var> is for its owner only: mends what an earlier version has left open.

Our programs make files so by their umask, which the programs that they start inherit.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from infra.local.process import PRIVATE
from infra.local.tool import Report

WALK_SECONDS = 10.0
REPORT_EVERY = 10_000


def close_to_others(
    var_dir: Path,
    report: Report,
    passable: Sequence[Path] = (),
    seconds: float = WALK_SECONDS,
) -> str:
    """Take all rights on a folder and what is in it from everybody but the owners.

    The folder itself comes first, after which nobody reaches what is in it. Links are not followed.

    Args:
        var_dir: the folder; nothing happens where there is none.
        report: receives the progress.
        passable: folders that their group may enter, and not list (see `places`).
        seconds: bound of the walk.

    Returns:
        One sentence on what is still open; empty where nothing is.
    """
    deadline = time.monotonic() + seconds
    closed, left = count(1), []
    for path, mode in _entries(var_dir):
        open_to = mode & PRIVATE & ~(stat.S_IXGRP if path in passable else 0)
        if time.monotonic() > deadline:
            return (
                f"Not every file in {var_dir} was checked within {seconds:.0f} s; others "
                "reach none of them, since the folder itself is closed."
            )
        if stat.S_ISLNK(mode):
            left += _open_target(path, var_dir)
        elif open_to and not _restrict(path, mode & ~open_to):
            left.append(path)
        elif open_to and (number := next(closed)) % REPORT_EVERY == 1:
            report(f"closing {var_dir} to other users: file {number:,}")
    if not left:
        return ""
    more = f" and {len(left) - 1:,} more" if left[1:] else ""
    return (
        f"Other users may reach {left[0]}{more}, and this user may not close it: run chmod -R go= "
        "as its owner."
    )


def _entries(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every path with its mode, a folder before what is in it; what disappears is left out."""
    try:
        yield folder, folder.stat().st_mode
        names = list(os.scandir(folder))
    except OSError:
        return
    for entry in names:
        try:
            is_folder, mode = entry.is_dir(follow_symlinks=False), os.lstat(entry).st_mode
        except OSError:
            continue
        if is_folder:
            yield from _entries(Path(entry))
        else:
            yield Path(entry), mode


def _restrict(path: Path, mode: int) -> bool:
    """Set a mode; False where it is refused, or where the file system keeps none."""
    try:
        path.chmod(stat.S_IMODE(mode))
        return not path.stat().st_mode & PRIVATE & ~mode
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _open_target(link: Path, var_dir: Path) -> list[Path]:
    """The target of a link that leads out of the folder, if others may read it."""
    try:
        target = link.resolve(strict=True)
        inside = target.is_relative_to(var_dir.resolve())
        return [target] if not inside and target.stat().st_mode & PRIVATE else []
    except (OSError, RuntimeError):
        return []
