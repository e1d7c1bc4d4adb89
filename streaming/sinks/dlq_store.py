"""The table `dead_letters` for operators: find, read, fix and mark as redriven.

The stream writes the rows and their results (`dlq_table`), this module only the fix and the
redrive, so both may write at once. `dead_letter_audit` gets a row for each body that somebody
opens, edits or redrives, in the statement of the change.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from conf.errors import database_down, first_line
from conf.settings import Settings
from streaming.dlq_ids import DlqError, Headers
from streaming.sinks.dlq_entries import AuditEntry, Count, DlqEntry, DlqSummary, Selection

# Any number, the same in every process.
_LOCK_KEY = 7_305_112_002


_HEAD = """id, topic, status, rules, event_id, order_id, octet_length(value) AS value_bytes,
    received_at, rejected_at, origin, fixed_at, redriven_at, redriven_as, resolved_at"""

# Postgres plans with the values, so it drops null conditions and uses the indexes of the others.
_CHOSEN = """
    (%(ids)s::text[] IS NULL OR id = ANY(%(ids)s))
    AND (%(rule)s::text IS NULL OR rules @> ARRAY[%(rule)s::text])
    AND (%(topic)s::text IS NULL OR topic = %(topic)s)
    AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR received_at < %(until)s)
    AND (%(status)s::text IS NULL OR status = %(status)s)"""

_ORDER = ("received_at", "topic", "partition", "position")
_AFTER = f"({', '.join(_ORDER)}) < ({', '.join(f'%(after_{name})s' for name in _ORDER)})"
_NEWEST_FIRST = ", ".join(f"{column} DESC" for column in _ORDER)

_AUDIT = "INSERT INTO dead_letter_audit (actor, action, dead_letter_id)"


class DlqRepository:
    """Rejected messages over one connection, which commits each statement.

    Args:
        connection: in autocommit, with the rights of the role `steward`.
        actor: who works with them, for the audit.
    """

    def __init__(self, connection: psycopg.Connection[Any], actor: str) -> None:
        self._connection, self._actor = connection, actor

    def heads(self, selection: Selection, limit: int, after: str | None = None) -> list[DlqSummary]:
        """The newest of the selected rejected messages; those that follow `after`, an id.

        Raises:
            DlqError: there is no rejected message `after`.
        """
        values = {**asdict(selection), "limit": limit}
        if after is not None:
            values |= self._position(after)
        # S608: built from the constants above only, here and below.
        query = f"""SELECT {_HEAD} FROM dead_letters
            WHERE {_CHOSEN} AND {_AFTER if after is not None else "true"}
            ORDER BY {_NEWEST_FIRST} LIMIT %(limit)s"""  # noqa: S608
        with self._connection.cursor(row_factory=class_row(DlqSummary)) as cursor:
            return cursor.execute(query.encode(), values).fetchall()

    def _position(self, entry: str) -> dict[str, Any]:
        """Where a rejected message is in the order of the list."""
        query = f"SELECT {', '.join(_ORDER)} FROM dead_letters WHERE id = %s"  # noqa: S608
        with self._connection.cursor(row_factory=dict_row) as cursor:
            found = cursor.execute(query.encode(), (entry,)).fetchone()
        if found is None:
            raise _missing([entry])
        return {f"after_{name}": value for name, value in found.items()}

    def ids(self, selection: Selection) -> list[str]:
        """Ids of all selected rejected messages, in the order of their topics."""
        query = f"""SELECT id FROM dead_letters WHERE {_CHOSEN}
            ORDER BY topic, partition, position"""  # noqa: S608
        rows = self._connection.execute(query.encode(), asdict(selection))
        return [row[0] for row in rows]

    def count(self, selection: Selection) -> int:
        """Number of the selected rejected messages."""
        query = f"SELECT count(*) FROM dead_letters WHERE {_CHOSEN}"  # noqa: S608
        (found,) = self._connection.execute(query.encode(), asdict(selection)).fetchone() or (0,)
        return int(found)

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
            raise _missing(missing)
        return [found[one] for one in ids]

    def open(self, entry: str) -> DlqEntry:
        """One rejected message for somebody who reads it, which is audited.

        Raises:
            DlqError: it does not exist.
        """
        (found,) = self.get([entry])
        query = f"{_AUDIT} VALUES (%s, 'opened', %s)"
        self._connection.execute(query.encode(), (self._actor, entry))
        return found

    def audit(self, entry: str, limit: int = 20) -> list[AuditEntry]:
        """What people did with a rejected message, the newest first."""
        query = """SELECT at, actor, action FROM dead_letter_audit
            WHERE dead_letter_id = %s ORDER BY entry DESC LIMIT %s"""
        with self._connection.cursor(row_factory=class_row(AuditEntry)) as cursor:
            return cursor.execute(query, (entry, limit)).fetchall()

    def store_fix(self, entry: DlqEntry, value: bytes) -> None:
        """Store the value to redrive; the original value is kept.

        Raises:
            DlqError: it is no longer open, somebody edited it after `entry` was read, or dead
                letters are being sent back: the value that is sent was read before.
        """
        query = f"""WITH unsent AS (SELECT pg_try_advisory_xact_lock_shared(%s) AS yes),
            fixed AS (
                UPDATE dead_letters SET fixed_value = %s, fixed_at = now()
                WHERE id = %s AND status = 'open' AND fixed_at IS NOT DISTINCT FROM %s
                    AND (SELECT yes FROM unsent)
                RETURNING id)
            {_AUDIT} SELECT %s, 'edited', id FROM fixed"""  # noqa: S608
        values = (_LOCK_KEY, value, entry.id, entry.fixed_at, self._actor)
        if not self._connection.execute(query.encode(), values).rowcount:
            raise DlqError(
                f"{entry.id} is no longer open, somebody else edited it, or dead letters are being "
                "sent back: look at it again."
            )

    def mark_redriven(self, sent: Mapping[str, str]) -> None:
        """Record redriven messages; a status that the stream has set by now is kept.

        Args:
            sent: id of a rejected message -> id of the message that it was redriven as.
        """
        query = f"""WITH marked AS (
                UPDATE dead_letters d SET redriven_at = now(),
                    redriven_as = CASE WHEN status = 'open' THEN back_as
                        ELSE coalesce(redriven_as, back_as) END,
                    status = CASE WHEN status = 'open' THEN 'redriven' ELSE status END
                FROM unnest(%s::text[], %s::text[]) AS sent (entry, back_as)
                WHERE d.id = sent.entry RETURNING d.id)
            {_AUDIT} SELECT %s, 'redriven', id FROM marked"""  # noqa: S608
        values = (list(sent), list(sent.values()), self._actor)
        self._connection.execute(query.encode(), values)

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


def _missing(ids: Sequence[str]) -> DlqError:
    return DlqError(
        f"There is no dead letter {', '.join(ids)}: `storelake dlq list` shows those that there "
        "are."
    )


def _headers(stored: Sequence[Sequence[str | None]] | None) -> Headers:
    return [
        (str(name), None if value is None else base64.b64decode(value))
        for name, value in stored or []
    ]


@contextmanager
def open_dead_letters(settings: Settings, actor: str) -> Iterator[DlqRepository]:
    """The rejected messages in the database of the settings, with the role `steward`.

    Args:
        settings: of the deployment.
        actor: who works with them, for the audit.

    Raises:
        DlqError: the database does not answer, or has no such table yet.
        SettingsError: there is no password.
    """
    conf = settings.postgres.acting_as("steward")
    options = "-c timezone=UTC -c application_name=storelake-dlq"
    try:
        with psycopg.connect(conf.dsn, autocommit=True, options=options) as connection:
            yield DlqRepository(connection, actor)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege) as error:
        raise DlqError(
            f"{first_line(error)}: run `storelake migrate`, which makes the tables of dead letters."
        ) from error
    except psycopg.OperationalError as error:
        place = f"Postgres at {conf.host}:{conf.port}"
        raise DlqError(database_down(place, error)) from error
