"""Log files: which there are, their end, and what is added to them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from conf.errors import StorelakeError

POLL_SECONDS = 0.25


def log_files(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The logs in a folder.

    Args:
        folder: `<var>/logs`.
        names: only these; all without a name.

    Raises:
        StorelakeError: there is none of such a name, or none at all.
    """
    files = sorted(folder.glob("*.log"))
    if not files:
        raise StorelakeError(f"There are no logs in {folder} yet: run `storelake up` first.")
    known = {file.stem: file for file in files}
    if missing := [name for name in names if name not in known]:
        raise StorelakeError(f"There is no log named {missing[0]}; known: {', '.join(known)}.")
    return [known[name] for name in names] if names else files


def last_lines(file: Path, count: int) -> list[str]:
    """The last lines of a file, read backwards in blocks, however large it is."""
    if count == 0:
        return []
    block, data = 64 * 1024, b""
    with file.open("rb") as source:
        position = source.seek(0, 2)
        while position > 0 and data.count(b"\n") <= count:
            step = min(block, position)
            position -= step
            source.seek(position)
            data = source.read(step) + data
    return data.decode("utf-8", "replace").splitlines()[-count:]


def follow_files(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Whole lines as they are added, from now on, with the name of their log; never ends."""
    offsets = {file: file.stat().st_size for file in files}
    while True:
        for file in files:
            size = file.stat().st_size if file.exists() else 0
            if size < offsets[file]:
                offsets[file] = 0  # A fresh file under the old name.
            if size == offsets[file]:
                continue
            with file.open("rb") as source:
                source.seek(offsets[file])
                whole, newline, _ = source.read(size - offsets[file]).rpartition(b"\n")
            offsets[file] += len(whole) + len(newline)
            for line in whole.decode("utf-8", "replace").splitlines():
                yield file.stem, line
        time.sleep(POLL_SECONDS)
