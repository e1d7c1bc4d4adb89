"""Log files of a deployment: which there are, their end, and what is added to them, by time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from itertools import chain
from os.path import samestat
from pathlib import Path
from typing import BinaryIO

from infra.errors import ServiceError
from infra.local.log_lines import LogEntry, parse_entries

POLL_SECONDS = 0.25
BLOCK_BYTES = 64 * 1024
_FIRST = datetime.min.replace(tzinfo=timezone.utc)


def log_files(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The logs in a folder.

    Args:
        folder: `<var>/logs`.
        names: only these; all without a name.

    Raises:
        ServiceError: there is none of such a name, or none at all, or it is another user's.
    """
    files = sorted(folder.glob("*.log"))
    if not files:
        raise ServiceError(f"There are no logs in {folder} yet: run `storelake up` first.")
    known = {file.stem: file for file in files}
    if missing := [name for name in names if name not in known]:
        raise ServiceError(f"There is no log named {missing[0]}; known: {', '.join(known)}.")
    chosen = [known[name] for name in names] if names else files
    if closed := [file for file in chosen if not os.access(file, os.R_OK)]:
        raise ServiceError(f"{closed[0]} cannot be read: run storelake as its owner.")
    return chosen


def sizes(files: Sequence[Path]) -> dict[Path, int]:
    """Of each log its size in bytes."""
    return {file: _size(file) for file in files}


def ends_of_lines(files: Sequence[Path]) -> dict[Path, int]:
    """Of each log the position behind its last whole line: one may be half written."""
    return {file: _end_of_lines(file) for file in files}


def _end_of_lines(file: Path) -> int:
    size = _size(file)
    last = _read(file, max(0, size - BLOCK_BYTES), size)
    return size - len(last.rpartition(b"\n")[2])


def last_entries(
    ends: Mapping[Path, int],
    count: int | None,
    since: datetime | None = None,
    level: str = "debug",
) -> list[LogEntry]:
    """The last entries of all logs, by time.

    Args:
        ends: the logs, and up to which position each is read. The part that was rotated away
            (`NAME.log.1`) belongs to a log.
        count: at most so many of each log; None: all.
        since: only entries from then on, UTC; one without a time has that of the entry before it.
        level: only entries at least this severe.
    """
    first, most = since or _FIRST, sys.maxsize if count is None else count

    def wanted(entries: Sequence[LogEntry]) -> list[LogEntry]:
        return [one for one in entries if one.reaches(level) and _time(one) >= first]

    def enough(entries: Sequence[LogEntry]) -> bool:
        is_older = any(one.at is not None and one.at < first for one in entries)
        return len(wanted(entries)) > most or is_older

    found = [wanted(_read_back(file, end, enough))[-most:] for file, end in ends.items()]
    return sorted(chain(*found) if most else (), key=_time)


def _read_back(
    file: Path, end: int, enough: Callable[[Sequence[LogEntry]], bool]
) -> Sequence[LogEntry]:
    """Entries at the end of a log: ever more of it is read, until it is enough."""
    entries: list[LogEntry] = []
    size, count = end + _size(_rotated(file)), 0
    while count < size and not enough(entries):
        count = max(BLOCK_BYTES, 4 * count)
        entries = list(parse_entries(file.stem, _last_lines(file, end, count)))
    return entries


def _last_lines(file: Path, end: int, count: int) -> list[str]:
    """The lines in the last bytes of a log, and of what was rotated away where it is too short."""
    older = _rotated(file)
    before = _size(older)
    data = _read(older, max(0, before - max(0, count - end)), before)
    data += _read(file, max(0, end - count), end)
    lines = data.decode("utf-8", "replace").splitlines()
    return lines if count >= end + before else lines[1:]  # the first one may be half a line


def _read(file: Path, start: int, end: int) -> bytes:
    try:
        with file.open("rb") as source:
            source.seek(start)
            return source.read(end - start)
    except FileNotFoundError:
        return b""


def _rotated(file: Path) -> Path:
    return file.with_suffix(".log.1")


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _modified(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0


def _time(entry: LogEntry) -> datetime:
    return entry.at or _FIRST


def follow(folder: Path, names: Sequence[str], ends: Mapping[Path, int]) -> Iterator[LogEntry]:
    """Entries as they are added, those of one poll by time; never ends.

    A log that is rotated, deleted or truncated is read to its end, then the new one from its start.

    Args:
        folder: of the logs.
        names: only these; without one also those that come later.
        ends: the logs, and from which position each is followed.
    """
    known = {file: _Follower(file, end) for file, end in ends.items()}
    while True:
        yield from sorted((e for one in known.values() for e in one.read()), key=_time)
        time.sleep(POLL_SECONDS)
        found = () if names else sorted(folder.glob("*.log"))
        known |= {file: _Follower(file) for file in found if file not in known}


class _Follower:
    """Reads one log as it grows."""

    def __init__(self, file: Path, start: int = 0) -> None:
        self._file, self._half = file, b""
        self._last: LogEntry | None = None
        self._copied_at = _modified(_rotated(file))
        self._source = self._open()
        if self._source:
            self._source.seek(start)

    def read(self) -> list[LogEntry]:
        """Entries of the whole lines that are new; of half a line only where its file has gone."""
        replaced = self._replaced()  # before the rest is read: what is written until then counts
        data = self._half + self._rest() + self._rest_of_copy()
        if replaced:
            data += b"\n"  # half a line gets no other half
            self._source = self._open()
            data += self._rest()
        whole, _, self._half = data.rpartition(b"\n")
        lines = whole.decode("utf-8", "replace").splitlines()
        entries = list(parse_entries(self._file.stem, lines, self._last))
        self._last = entries[-1] if entries else self._last
        return entries

    def _open(self) -> BinaryIO | None:
        with suppress(FileNotFoundError):
            return self._file.open("rb")
        return None

    def _replaced(self) -> bool:
        """Whether the path names another file than the open one, or that was truncated."""
        if self._source is None:
            return True
        ours = os.fstat(self._source.fileno())
        with suppress(FileNotFoundError):
            same = samestat(self._file.stat(), ours)
            return not same or self._source.seek(0, os.SEEK_CUR) > ours.st_size
        return True

    def _rest(self) -> bytes:
        return self._source.read() if self._source else b""

    def _rest_of_copy(self) -> bytes:
        """What `Daemon.rotate_log` copied since the last poll and then truncated, not read yet."""
        copy = _rotated(self._file)
        before, self._copied_at = self._copied_at, _modified(copy)
        if self._source is None or self._copied_at == before:
            return b""
        position = self._source.tell()
        is_truncated = position > os.fstat(self._source.fileno()).st_size
        return _read(copy, position, _size(copy)) if is_truncated else b""
