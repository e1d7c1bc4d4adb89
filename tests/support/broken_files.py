"""Breaks a state file: cuts it off, empties, overwrites, replaces or locks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path


def _cut(file: Path) -> None:
    content = file.read_bytes() if file.is_file() else b'{"gateway": 1.5}'
    file.write_bytes(content[: len(content) // 2])


def _remove(file: Path) -> None:
    if file.is_dir():
        file.rmdir()
    file.unlink(missing_ok=True)


def _folder(file: Path) -> None:
    _remove(file)
    file.mkdir()


def _loop(file: Path) -> None:
    """A symbolic link to itself, which even root cannot read."""
    _remove(file)
    file.symlink_to(file)


BREAK: Mapping[str, Callable[[Path], None]] = {
    "cut off": _cut,
    "empty": lambda file: file.write_bytes(b"") and None,
    "nul": lambda file: file.write_bytes(b"\0" * 64) and None,
    "no text": lambda file: file.write_bytes(b"\xff\xfe{") and None,
    "a list": lambda file: file.write_bytes(b"[1, 2]") and None,
    "null": lambda file: file.write_bytes(b"null") and None,
    "deep": lambda file: file.write_bytes(b'{"a":' * 100_000) and None,
    "wrong values": lambda file: file.write_bytes(b'{"gateway": {"pid": "x"}}') and None,
    "a folder": _folder,
    "unreadable": _loop,
}
"""name -> breaks a file, which is there or not."""
