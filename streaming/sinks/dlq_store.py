"""The table `dead_letters` for operators: find, read, fix and mark as redriven.

The stream writes the rows and their results (`dead_letter_table`), this module only the fix and the
redrive, so both may write at once.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row, dict_row

from conf.errors import database_down
from conf.settings import Settings
from streaming.dlq_ids import DlqError, Headers

Status = Literal["open", "redriven", "resolved", "superseded"]

# Any number, the same in every process.
_LOCK_KEY = 7_305_112_002


@dataclass(frozen=True)
class Selection:
    """Filter for rejected messages. None means no restriction.

    Attributes:
        ids: of the rejected messages.
        rule: id of a rule that they failed.
        topic: that they came from.
        since: received then or later.
        status: of the rejected messages.
    """

    ids: Sequence[str] | None = None
    rule: str | None = None
    topic: str | None = None
    since: datetime | None = None
    status: Status | None = None


@dataclass(frozen=True)
class DlqSummary:
    """A rejected message without its bytes. Times are in UTC."""

    id: str
    topic: str
    status: Status
    rules: list[str]
    event_id: str | None
    order_id: str | None
    value_bytes: int | None
    received_at: datetime
    rejected_at: datetime
    origin: str | None
    fixed_at: datetime | None
    redriven_at: datetime | None
    redriven_as: str | None
    resolved_at: datetime | None


@dataclass(frozen=True)
class DlqEntry(DlqSummary):
    """A rejected message with its bytes.

    Attributes:
        headers: as received, in their order.
        fixed_value: to redrive in place of the value.
        superseded_by: the rejected message that the redriven message became.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers
    fixed_value: bytes | None
    superseded_by: str | None


@dataclass(frozen=True)
class Count:
    """How many rejected messages of one topic failed one rule."""

    rule: str
    topic: str
    dead_letters: int
    oldest: datetime
    newest: datetime


_HEAD = """id, topic, status, rules, event_id, order_id, octet_length(value) AS value_bytes,
    received_at, rejected_at, origin, fixed_at, redriven_at, redriven_as, resolved_at"""

# Postgres plans with the values, so it drops null conditions and uses the indexes of the others.
_CHOSEN = """
    (%(ids)s::text[] IS NULL OR id = ANY(%(ids)s))
    AND (%(rule)s::text IS NULL OR rules @> ARRAY[%(rule)s::text])
    AND (%(topic)s::text IS NULL OR topic = %(topic)s)
    AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
    AND (%(status)s::text IS NULL OR status = %(status)s)"""


class DlqRepository:
    """Rejected messages over one connection, which commits each statement."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def heads(self, selection: Selection, limit: int) -> list[DlqSummary]:
        """The newest of the selected rejected messages."""
        # S608: built from the constants above only, here and below.
        query = f"""SELECT {_HEAD} FROM dead_letters WHERE {_CHOSEN}
            ORDER BY received_at DESC, topic, partition, position DESC LIMIT %(limit)s"""  # noqa: S608
        with self._connection.cursor(row_factory=class_row(DlqSummary)) as cursor:
            values = {**asdict(selection), "limit": limit}
            return cursor.execute(query.encode(), values).fetchall()

    def ids(self, selection: Selection) -> list[str]:
        """Ids of all selected rejected messages, in the order of their topics."""
        query = f"""SELECT id FROM dead_letters WHERE {_CHOSEN}
            ORDER BY topic, partition, position"""  # noqa: S608
        rows = self._connection.execute(query.encode(), asdict(selection))
        return [row[0] for row in rows]

    def counts(self, selection: Selection) -> list[Count]:
        """Counts by rule and topic, highest first; a message counts in each rule that it failed."""
        query = f"""SELECT rule, topic, count(*) AS dead_letters, min(received_at) AS oldest,
                max(received_at) AS newest
            FROM dead_letters, unnest(rules) AS rule WHERE {_CHOSEN}
            GROUP BY rule, topic ORDER BY dead_letters DESC, rule, topic"""  # noqa: S608
        with self._connection.cursor(row_factory=class_row(Count)) as cursor:
            return cursor.execute(query.encode(), asdict(selection)).fetchall()

    def get(self, ids: Sequence[str]) -> list[DlqEntry]:
        """Rejected messages with their bytes, in the order of `ids`.

        Raises:
            DlqError: one of them does not exist.
        """
        query = f"""SELECT {_HEAD}, key, value, headers, fixed_value,
                (SELECT min(n.id) FROM dead_letters n WHERE n.origin = d.id) AS superseded_by
            FROM dead_letters d WHERE id = ANY(%s)"""  # noqa: S608
        with self._connection.cursor(row_factory=dict_row) as cursor:
            found = {
                row["id"]: DlqEntry(**{**row, "headers": _headers(row["headers"])})
                for row in cursor.execute(query.encode(), (list(ids),))
            }
        missing = [one for one in ids if one not in found]
        if missing:
            raise DlqError(
                f"There is no dead letter {', '.join(missing)}: `storelake dlq list` shows those "
                "that there are."
            )
        return [found[one] for one in ids]

    def store_fix(self, entry: DlqEntry, value: bytes) -> None:
        """Store the value to redrive; the original value is kept.

        Raises:
            DlqError: it is no longer open.
        """
        changed = self._connection.execute(
            "UPDATE dead_letters SET fixed_value = %s, fixed_at = now() "
            "WHERE id = %s AND status = 'open'",
            (value, entry.id),
        )
        if not changed.rowcount:
            raise DlqError(f"{entry.id} is no longer open: look at it again.")

    def mark_redriven(self, entry: str, back_as: str) -> None:
        """Record a redriven message; a status that the stream has set by now is kept."""
        self._connection.execute(
            """UPDATE dead_letters SET redriven_at = now(),
                redriven_as = CASE WHEN status = 'open' THEN %s ELSE coalesce(redriven_as, %s) END,
                status = CASE WHEN status = 'open' THEN 'redriven' ELSE status END
            WHERE id = %s""",
            (back_as, back_as, entry),
        )

    def generation(self, topic: str) -> int:
        """Generation of the topic that streams read under this name (`topic_generations`)."""
        found = self._connection.execute(
            "SELECT coalesce(max(generation), 0) FROM topic_generations WHERE topic = %s", (topic,)
        ).fetchone()
        return int(found[0]) if found else 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock redrives of other processes out; the lock ends with the connection.

        Raises:
            DlqError: another process holds the lock.
        """
        (mine,) = self._connection.execute(
            "SELECT pg_try_advisory_lock(%s)", (_LOCK_KEY,)
        ).fetchone() or (False,)
        if not mine:
            raise DlqError("Somebody else is sending dead letters back: wait, then repeat.")
        try:
            yield
        finally:
            self._connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK_KEY,))


def _headers(stored: Sequence[Sequence[str | None]] | None) -> Headers:
    return [
        (str(name), None if value is None else base64.b64decode(value))
        for name, value in stored or []
    ]


@contextmanager
def open_dead_letters(settings: Settings) -> Iterator[DlqRepository]:
    """The rejected messages in the database of the settings.

    Raises:
        DlqError: the database does not answer, or has no such table yet.
        SettingsError: there is no password.
    """
    conf = settings.postgres
    options = "-c timezone=UTC -c application_name=storelake-dlq"
    try:
        with psycopg.connect(conf.dsn, autocommit=True, options=options) as connection:
            yield DlqRepository(connection)
    except psycopg.errors.UndefinedTable as error:
        raise DlqError(
            "The database has no table dead_letters yet: run `storelake migrate`."
        ) from error
    except psycopg.OperationalError as error:
        place = f"Postgres at {conf.host}:{conf.port}"
        raise DlqError(database_down(place, error)) from error
