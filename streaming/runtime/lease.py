"""One writer a stream: a lease in Postgres, whose epoch every commit checks.

An application acquires the leases of its streams before it starts Spark and renews them while it
runs. It does not run a stream whose lease another one holds; with `take_over` the other application
is fenced: the new owner has a higher epoch, and a commit of a lower one fails (`Leases.require` in
Postgres, `Lake.fenced` in the lake). A lease is free when its owner released it, when it was not
renewed for its time, or when its owner was a process of this machine that is gone.

The lease keeps two applications from working side by side. That no row is written twice does not
hang on it: every sink also compares source positions in its own commit (docs/adr/0002).
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from socket import gethostname
from typing import Any

import psutil
import psycopg
from psycopg.rows import class_row

from conf.errors import StorelakeError, database_down, first_line
from conf.processes import has_ended, started, this_machine

log = logging.getLogger("storelake.streams")

TAKE_OVER = (
    "stop it (`storelake stop streams`), or take over with `storelake run --take-over` "
    "(STORELAKE_STREAMS__TAKE_OVER=true for spark-submit), which ends the other application"
)
RENEWALS = 5
"""A lease is renewed so many times in its time: four may fail."""
LOOK_SECONDS = 0.25

_HELD_SQL = """
    SELECT stream, epoch, owner, holder, machine, pid, pid_start, since, expires_at,
        coalesce(expires_at <= now(), true) AS expired
    FROM stream_leases WHERE stream = ANY(%s) ORDER BY stream FOR UPDATE"""
_ADD_SQL = """
    INSERT INTO stream_leases (stream) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING"""
_ACQUIRE_SQL = """
    UPDATE stream_leases SET epoch = epoch + 1, owner = %(owner)s, holder = %(holder)s,
        machine = %(machine)s, pid = %(pid)s, pid_start = %(pid_start)s, since = now(),
        expires_at = now() + %(duration)s
    WHERE stream = ANY(%(streams)s) RETURNING stream, epoch"""
_RENEW_SQL = """
    UPDATE stream_leases SET expires_at = now() + %(duration)s
    WHERE owner = %(owner)s RETURNING stream"""
_RELEASE_SQL = "UPDATE stream_leases SET owner = NULL, expires_at = NULL WHERE owner = %s"


class LeaseError(StorelakeError):
    """The leases cannot be read; the message states what to do."""


class LeaseHeldError(StorelakeError):
    """Another application writes the stream; the message names it and what to do."""


class FencedError(StorelakeError):
    """Another application has taken the stream over; this one must not commit any more."""


@dataclass(frozen=True)
class Held:
    """A row of `stream_leases`; `expired` by the clock of the database."""

    stream: str
    epoch: int
    owner: uuid.UUID | None
    holder: str | None
    machine: str | None
    pid: int | None
    pid_start: float | None
    since: datetime | None
    expires_at: datetime | None
    expired: bool

    @property
    def is_free(self) -> bool:
        """Whether nobody holds the lease."""
        return self.owner is None or self.expired or self._is_gone()

    def _is_gone(self) -> bool:
        """Whether its owner was a process of this machine that has ended."""
        here = this_machine()
        if not here or self.machine != here or self.pid is None or self.pid_start is None:
            return False
        return has_ended(self.pid, self.pid_start)

    def __str__(self) -> str:
        since = f"{self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else "an unknown time"
        return f"{self.holder} since {since}"


@dataclass(frozen=True)
class Epochs:
    """Epochs of the streams of an application: the fence of tasks, which renew no lease."""

    epochs: Mapping[str, int]

    def require(self, connection: psycopg.Connection[Any], stream: str) -> None:
        """Check inside a transaction that the stream is still the application's.

        Raises:
            FencedError: a newer epoch exists.
        """
        row = connection.execute(
            "SELECT epoch, holder, since FROM stream_leases WHERE stream = %s", (stream,)
        ).fetchone()
        if row is None or row[0] != self.epochs[stream]:
            _, holder, since = row or (0, None, None)
            taken = f" by {holder} at {since:%Y-%m-%d %H:%M:%S} UTC" if holder and since else ""
            raise FencedError(
                f"{stream} was taken over{taken}: this application does not write it any more"
            )


@dataclass
class Leases:
    """The leases of the streams of one application.

    Args:
        dsn: of the serving database.
        streams: their names.
        application: what the holder is called in messages.
        duration: how long a lease holds without a renewal; at most 15 s.
        take_over: fence another holder.

    Attributes:
        lost: stream -> message that names the application that has taken it over.
    """

    dsn: str
    streams: Sequence[str]
    application: str
    duration: timedelta = timedelta(seconds=15)
    take_over: bool = False
    lost: dict[str, str] = field(default_factory=dict)
    _owner: uuid.UUID = field(default_factory=uuid.uuid4)
    _epochs: dict[str, int] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lease of every stream, or of none, then renew them until `release`.

        A lease that is not free is watched until its holder renews it, or until it expires.

        Raises:
            LeaseHeldError: a stream has a living holder, and `take_over` is not set.
            LeaseError: the database does not answer, or has no table of leases.
        """
        seen: dict[str, datetime | None] = {}
        while held := self._try_once():
            renewed = [h for h in held if h.expires_at != seen.setdefault(h.stream, h.expires_at)]
            if renewed:
                raise LeaseHeldError(_rejection(held))
            time.sleep(LOOK_SECONDS)
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
        self._thread.start()

    def epoch(self, stream: str) -> int:
        """The epoch of a stream that this application holds, or held."""
        return self._epochs[stream]

    def require(self, connection: psycopg.Connection[Any], stream: str) -> None:
        """Check inside a transaction that the stream is still this application's.

        Args:
            connection: of the transaction that writes for the stream, which holds its lock.
            stream: its name.

        Raises:
            FencedError: a newer epoch exists.
        """
        if stream in self.lost:
            raise FencedError(self.lost[stream])
        try:
            Epochs(self._epochs).require(connection, stream)
        except FencedError as error:
            self.lost[stream] = str(error)
            raise

    def release(self) -> None:
        """Release the leases at a clean end, except those that others have taken over."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=self.duration.total_seconds())
        try:
            with self._connect() as connection:
                connection.execute(_RELEASE_SQL, (self._owner,))
        except psycopg.Error as error:
            log.warning("leases not released, they expire: %s", first_line(error))

    def _try_once(self) -> list[Held]:
        try:
            return self._try()
        except psycopg.errors.UndefinedTable as error:
            raise LeaseError(
                "Postgres has no table of leases: run `storelake migrate`, or `storelake up`."
            ) from error
        except psycopg.OperationalError as error:
            raise LeaseError(database_down("Postgres", error)) from error

    def _try(self) -> list[Held]:
        """Acquire all leases, or return those that others hold."""
        names = sorted(self.streams)
        with self._connect() as connection:
            connection.execute(_ADD_SQL, (names,))
            with connection.cursor(row_factory=class_row(Held)) as cursor:
                rows = cursor.execute(_HELD_SQL, (names,)).fetchall()
            held = [row for row in rows if not row.is_free]
            if held and not self.take_over:
                return held
            for one in held:
                log.warning("%s is taken over from %s", one.stream, one)
            self._epochs = dict(connection.execute(_ACQUIRE_SQL, self._claim(names)).fetchall())
        return []

    def _claim(self, names: Sequence[str]) -> dict[str, Any]:
        return {
            "streams": list(names),
            "owner": self._owner,
            "holder": f"{self.application} (process {os.getpid()} on {gethostname()})",
            "machine": this_machine(),
            "pid": os.getpid(),
            "pid_start": started(psutil.Process()),
            "duration": self.duration,
        }

    def _run(self) -> None:
        pause = self.duration.total_seconds() / RENEWALS
        while not self._over.wait(pause):
            self._renew()

    def _renew(self) -> None:
        renewal = {"owner": self._owner, "duration": self.duration}
        try:
            with self._connect() as connection:
                mine = {stream for (stream,) in connection.execute(_RENEW_SQL, renewal)}
                for stream in set(self.streams) - mine - self.lost.keys():
                    with suppress(FencedError):
                        self.require(connection, stream)
        except psycopg.Error as error:
            log.warning("leases not renewed: %s", first_line(error))

    def _connect(self) -> psycopg.Connection[Any]:
        """A connection of one short transaction, in UTC."""
        seconds = max(1, int(self.duration.total_seconds() / RENEWALS))
        options = f"-c timezone=UTC -c application_name=storelake-lease -c lock_timeout={seconds}s"
        return psycopg.connect(self.dsn, options=options, connect_timeout=max(2, seconds))


def _rejection(held: Iterable[Held]) -> str:
    by_holder: dict[str, list[str]] = {}
    for one in held:
        by_holder.setdefault(str(one), []).append(one.stream)
    parts = [f"{_listed(streams)} held by {holder}" for holder, streams in by_holder.items()]
    return f"{'; '.join(parts)}: {TAKE_OVER}."


def _listed(streams: Sequence[str]) -> str:
    if len(streams) == 1:
        return f"The stream {streams[0]} is"
    return f"The streams {', '.join(streams[:-1])} and {streams[-1]} are"
