"""One customer in the files of the state folder that are no database: logs, reports, spools."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from conf.settings import Settings
from streaming.privacy.person import Person

STORES = frozenset({"postgres", "kafka", "pulsar", "minio", "warehouse", "delta"})
"""Folders of stores that are searched through their own readers."""
CHECKED = "checkpoints"
"""Folder of Spark's state, whose files have checksums: it is searched, and not changed."""


def files_with(settings: Settings, person: Person) -> Iterator[Path]:
    """Files below the state folder with the id as a token, gzip unpacked."""
    for folder, names, files in os.walk(settings.var_dir):
        names[:] = [name for name in names if name not in STORES]
        yield from (path for name in files if person.places(_read(path := Path(folder, name))))


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes() if path.is_file() else b""
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (FileNotFoundError, PermissionError):  # of a process that has just ended
        return b""
    except (OSError, EOFError, zlib.error):
        return path.read_bytes()


def mask_file(path: Path, person: Person) -> None:
    """Overwrite the id in place with as many asterisks; a process may go on appending to the file.

    A gzip file is packed again; files of `CHECKED` are left as they are.
    """
    if CHECKED in path.parts:
        return
    data = _read(path)
    places = person.places(data)
    if path.suffix == ".gz":
        changed = bytearray(data)
        for start, end in places:
            changed[start:end] = b"*" * (end - start)
        path.write_bytes(gzip.compress(changed))
        return
    with path.open("r+b") as file:
        for start, end in places:
            file.seek(start)
            file.write(b"*" * (end - start))
