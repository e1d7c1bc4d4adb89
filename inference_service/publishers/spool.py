"""Events on disk while their broker is away: a queue in SQLite, bounded, of one process at a time.

SQLite and not a queue library: many events are read, and deleted, in one step, and their bytes
are not changed. A row is on disk when the system writes its page cache back, which outlives a
killed process, though not a power cut: as with our brokers.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from inference_service.publishers import PublishError

MOST_SLOTS = 100


class Row(NamedTuple):
    """One event on disk; a smaller number is older."""

    number: int
    key: bytes
    value: bytes


class Spool:
    """A queue in `<folder>/<name>.db`; another process that wants the name gets `<name>-2`.

    What processes of the name left behind is taken over by the next one that opens it, so nothing
    is stranded when there are fewer of them. Not thread-safe: its publisher has a lock.

    Raises:
        PublishError: the folder or the file cannot be used.
    """

    def __init__(self, folder: Path, name: str, limit: int) -> None:
        self._limit, self._count = limit, 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            slots = [folder / f"{name}{'' if n == 1 else f'-{n}'}" for n in range(1, MOST_SLOTS)]
            self._path, self._lock = next(
                (slot, lock) for slot in slots if (lock := _try_lock(slot)) is not None
            )
            self._db = _open(self._path)
            for slot in slots:
                if slot != self._path and slot.with_suffix(".db").exists():
                    self._take_over(slot)
            self._count = int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])
        except (OSError, sqlite3.Error, StopIteration) as error:
            raise PublishError(f"The spool {folder / name} cannot be used: {error}.") from error

    @property
    def path(self) -> Path:
        """Its file."""
        return self._path.with_suffix(".db")

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
        try:
            with self._db:
                gone = self._db.execute("DELETE FROM events WHERE number <= ?", (upto,)).rowcount
        except sqlite3.Error as error:
            raise self._unwritten(error) from error
        self._count -= gone

    def close(self) -> None:
        """Close the file, and delete it when it is empty."""
        self._db.close()
        if not self._count:
            _remove(self._path)
        self._lock.close()

    def _insert(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        try:
            with self._db:
                self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self._unwritten(error) from error
        self._count += len(rows)

    def _unwritten(self, error: sqlite3.Error) -> PublishError:
        return PublishError(f"The spool {self.path} cannot be written: {error}.")

    def _take_over(self, slot: Path) -> None:
        lock = _try_lock(slot)
        if lock is None:
            return
        other = _open(slot)
        events = other.execute("SELECT key, value FROM events ORDER BY number").fetchall()
        other.close()
        self.prepend(events)
        _remove(slot)
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


def _try_lock(slot: Path) -> _Lock | None:
    try:
        return _Lock(slot.with_suffix(".lock"))
    except BlockingIOError:
        return None


def _open(slot: Path) -> sqlite3.Connection:
    # Every use is under the publisher's lock, from whichever thread.
    db = sqlite3.connect(slot.with_suffix(".db"), check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute(
        "CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, key BLOB, value BLOB)"
    )
    return db


def _remove(slot: Path) -> None:
    for suffix in (".db", ".db-wal", ".db-shm"):
        slot.with_suffix(suffix).unlink(missing_ok=True)
