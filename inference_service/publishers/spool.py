"""Events on disk while their broker is away: a queue in SQLite, bounded, of one process at a time.

SQLite and not a queue library: many events are read, and deleted, in one step, and their bytes
are not changed. A row is on disk when the system writes its page cache back, which outlives a
killed process, though not a power cut: as with our brokers.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from inference_service.publishers import PublishError

log = logging.getLogger(__name__)

MOST_FILES = 100


class Row(NamedTuple):
    """One event on disk; a smaller number is older."""

    number: int
    key: bytes
    value: bytes


class Spool:
    """A queue in `<folder>/<name>.db`; another process that wants the name gets `<name>-2`.

    What a process left behind in any file whose name begins so is taken over by the next one,
    whatever cameras each of them reads. Not thread-safe: its publisher has a lock.

    Raises:
        PublishError: the folder or the file cannot be used.
    """

    def __init__(self, folder: Path, name: str, limit: int) -> None:
        self._limit, self._count = limit, 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            files = (folder / f"{name}{'' if n == 1 else f'-{n}'}.db" for n in range(1, MOST_FILES))
            self._path, self._lock = next(
                (file, lock) for file in files if (lock := _try_lock(file)) is not None
            )
            self._db = _open(self._path)
            for file in sorted(folder.glob(f"{name}*.db")):
                if file != self._path:
                    self._take_over(file)
            self._count = int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])
        except (OSError, sqlite3.Error, StopIteration) as error:
            raise PublishError(f"The spool {folder / name} cannot be used: {error}.") from error

    @property
    def path(self) -> Path:
        """Its file."""
        return self._path

    def __len__(self) -> int:
        return self._count

    @property
    def full(self) -> bool:
        """Whether it takes no more."""
        return self._count >= self._limit

    def append(self, key: bytes, value: bytes) -> None:
        """Add the youngest event."""
        self._insert("INSERT INTO events (key, value) VALUES (?, ?)", [(key, value)])

    def prepend(self, events: Sequence[tuple[bytes, bytes]]) -> None:
        """Put events before all others, in their order; the limit does not hold for them."""
        (oldest,) = self._db.execute("SELECT coalesce(min(number), 1) FROM events").fetchone()
        numbered = enumerate(events, oldest - len(events))
        self._insert("INSERT INTO events VALUES (?, ?, ?)", [(n, k, v) for n, (k, v) in numbered])

    def after(self, number: int | None, limit: int) -> list[Row]:
        """The oldest events behind one, or of all, at most `limit`."""
        where = "" if number is None else "WHERE number > ?"
        query = f"SELECT number, key, value FROM events {where} ORDER BY number LIMIT ?"  # noqa: S608
        return [Row(*row) for row in self._db.execute(query, (*([number] * bool(where)), limit))]

    def delete(self, upto: int) -> None:
        """Delete events up to and including one."""
        self._count -= self._write("DELETE FROM events WHERE number <= ?", [(upto,)])

    def close(self) -> None:
        """Close the file, and delete it when it is empty."""
        self._db.close()
        if not self._count:
            _remove(self._path)
        self._lock.close()

    def _insert(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._write(statement, rows)
        self._count += len(rows)

    def _write(self, statement: str, rows: Sequence[tuple[object, ...]]) -> int:
        """Change the file; returns the number of changed rows."""
        try:
            with self._db:
                return self._db.executemany(statement, rows).rowcount
        except sqlite3.Error as error:
            raise PublishError(f"The spool {self.path} cannot be written: {error}.") from error

    def _take_over(self, file: Path) -> None:
        lock = _try_lock(file)
        if lock is None:
            return
        try:
            other = _open(file)
            events = other.execute("SELECT key, value FROM events ORDER BY number").fetchall()
            other.close()
        except sqlite3.Error as error:  # what another process left must not stop this one
            log.error("the spool %s cannot be read, its events are not sent: %s", file, error)
        else:
            self.prepend(events)
            _remove(file)
        lock.close()


class _Lock:
    """An open file that one process holds; the system lets it go when that dies."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise

    def close(self) -> None:
        self._file.close()


def _try_lock(file: Path) -> _Lock | None:
    try:
        return _Lock(file.with_suffix(".lock"))
    except BlockingIOError:
        return None


def _open(file: Path) -> sqlite3.Connection:
    # Every use is under the publisher's lock, from whichever thread.
    db = sqlite3.connect(file, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(
        "CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, key BLOB, value BLOB)"
    )
    return db


def _remove(file: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
