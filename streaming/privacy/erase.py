"""Erases customers from every store, and searches every store for what is left.

Each step may run again: a run that was killed continues where the first step finds work left. So a
second run changes nothing. Streams may run meanwhile; their source positions do not change.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal

import psycopg
from confluent_kafka import KafkaException

from conf.errors import StorelakeError
from conf.settings import Settings
from streaming.lake.formats import open_lake
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.protocol import Lake, MissingTableError
from streaming.lake.tables import (
    BRONZE_ORDER_EVENTS,
    QUARANTINE_ORDER_EVENTS,
    TABLES,
    Table,
)
from streaming.privacy import files, serving, tables, topics
from streaming.privacy.person import ERASED, Person, customer_of
from streaming.privacy.topics import NotReadError, Partition, PersonMessages

UNREAD = timedelta(days=1)
"""How long after the last message in Kafka a stream may still be behind, and bring it back."""
_MINE = "customer_hash = sha256(convert_to(salt || %s, 'UTF8'))"

Notify = Callable[[str], None]


@dataclass(frozen=True)
class ErasedPlace:
    """What one store holds of a customer after the erasure.

    Attributes:
        store: such as `postgres`, `lake`, `kafka`, `files`.
        name: of the table, file or topic partition.
        changed: rows or files that this run has redacted.
        left: rows, files or messages that still mention the customer.
        until: when these are gone by themselves (UTC); None: nothing is left, or not by themselves.
        note: why something is left.
    """

    store: Literal["postgres", "lake", "kafka", "files"]
    name: str
    changed: int = 0
    left: int = 0
    until: datetime | None = None
    note: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing is left, or only what expires."""
        return not self.left or self.until is not None


class PrivacyError(StorelakeError):
    """A customer cannot be erased; the message states why."""


def erase(
    settings: Settings, customer_id: str, notify: Notify, *, kafka_now: bool = False
) -> list[ErasedPlace]:
    """Erase one customer, and search every store.

    Args:
        settings: of the deployment.
        customer_id: the id as orders have it.
        notify: called with the name of each step.
        kafka_now: delete messages from Kafka up to the newest one of the customer; otherwise Kafka
            deletes them by the retention of the topics.

    Raises:
        PrivacyError: the id is empty, or is the marker itself.
    """
    person = _person(customer_id)
    with psycopg.connect(settings.postgres.dsn, autocommit=True) as connection:
        _note(connection, person)
        places = [*_erase_postgres(connection, person, notify)]
        places += _erase_lake(settings, person, notify)
        places += _erase_files(settings, person, notify)
        places += _kafka(settings, connection, person, notify, now=kafka_now)
        times = [one.until for one in places if one.until]
        connection.execute(
            f"UPDATE erasures SET done_at = now(), repeat_until = %s WHERE {_MINE}",  # noqa: S608
            (max(times) + UNREAD if times else None, person.id),
        )
    return places


def _person(customer_id: str) -> Person:
    if not customer_id.strip() or customer_id == ERASED:
        raise PrivacyError("A customer id has at least one character, and is not `erased`.")
    return Person(customer_id)


def _note(connection: psycopg.Connection[Any], person: Person) -> None:
    found = connection.execute(
        f"UPDATE erasures SET requested_at = now() WHERE {_MINE} RETURNING 1",  # noqa: S608
        (person.id,),
    ).fetchone()
    if found is None:
        connection.execute(
            "INSERT INTO erasures (customer_hash, salt) "
            "VALUES (sha256(convert_to(%(salt)s::text || %(id)s, 'UTF8')), %(salt)s)",
            {"salt": secrets.token_hex(16), "id": person.id},
        )


def _erase_postgres(
    connection: psycopg.Connection[Any], person: Person, notify: Notify
) -> Iterator[ErasedPlace]:
    changed = {}
    columns = serving.text_tables(connection)
    for table, of in columns.items():
        notify(f"postgres {table}")
        changed[table] = serving.erase_rows(connection, table, of, person)
    serving.vacuum(connection, person)
    for table, of in columns.items():
        left = sum(1 for _ in serving.rows_of(connection, table, of, person))
        yield ErasedPlace("postgres", table, changed[table], left)


def _erase_lake(settings: Settings, person: Person, notify: Notify) -> Iterator[ErasedPlace]:
    with open_lake(settings) as lake:
        rejected = tables.rejected_positions(lake, person)
        # The quarantine lists the rejected messages, so it is last.
        for table in sorted(TABLES, key=lambda table: table == QUARANTINE_ORDER_EVENTS):
            notify(f"lake {table.name}")
            try:
                yield _erase_table(lake, table, person, rejected)
            except MissingTableError:  # the streams make it
                continue


def _erase_table(
    lake: Lake, table: Table, person: Person, rejected: frozenset[tables.Position]
) -> ErasedPlace:
    if not isinstance(lake, IcebergLake):
        from streaming.privacy import delta  # noqa: PLC0415 - its package is an extra

        changed, left = delta.erase_table(lake, table, person, rejected)
    else:
        changed = tables.erase_table(lake, table, person, rejected)
        iceberg = lake.load(table)
        left = len([*tables.files_with(iceberg, person)]) + tables.bounds_with(iceberg, person)
    wait = "15 minutes" if isinstance(lake, IcebergLake) else "an hour"
    note = f"A commit under way, a tag or the log may need them: run the command again in {wait}."
    return ErasedPlace("lake", table.name, changed, left, note=note if left else "")


def _erase_files(settings: Settings, person: Person, notify: Notify) -> list[ErasedPlace]:
    notify("files")
    found = [*files.files_with(settings, person)]
    for path in found:
        files.mask_file(path, person)
    left = {*files.files_with(settings, person)}
    names = {path: str(path.relative_to(settings.var_dir)) for path in {*found, *left}}
    return [
        ErasedPlace("files", names[p], int(p not in left), int(p in left)) for p in sorted(names)
    ]


def _kafka(
    settings: Settings,
    connection: psycopg.Connection[Any],
    person: Person,
    notify: Notify,
    *,
    now: bool,
) -> list[ErasedPlace]:
    notify("kafka")
    try:
        before = found = topics.held(settings, person)
        if now:
            topics.delete_messages(settings, found, _read_positions(settings, connection))
            found = topics.held(settings, person)
        return [_in_kafka(at, found.get(at), one.count) for at, one in before.items()]
    except NotReadError as error:
        return [replace(_in_kafka(at, one, 0), note=str(error)) for at, one in found.items()]
    except KafkaException as error:
        note = f"Kafka was not searched: {error}"
        return [ErasedPlace("kafka", "all topics", left=1, note=note)]


def _in_kafka(at: Partition, left: PersonMessages | None, deleted: int) -> ErasedPlace:
    name = f"{at[0]}[{at[1]}]"
    if left is None:
        return ErasedPlace("kafka", name, deleted)
    note = "deleted by the retention of the topic" if left.until else "the topic keeps messages"
    return ErasedPlace("kafka", name, 0, left.count, left.until, note)


def _read_positions(
    settings: Settings, connection: psycopg.Connection[Any]
) -> dict[Partition, str]:
    """The position up to which Postgres and the lake hold every message of an order topic."""
    query = "SELECT topic, partition, min(position) FROM stream_offsets GROUP BY 1, 2"
    rows = connection.execute(query).fetchall()
    read = {(topic, number): position for topic, number, position in rows}
    with open_lake(settings) as lake:
        bronze = lake.progress(BRONZE_ORDER_EVENTS)
    known = {at: min(read.get(at, ""), bronze.get(at, "")) for at in {*read, *bronze}}
    dlq = settings.kafka.order_dlq
    return {at: position for at, position in known.items() if at[0] != dlq}


def repeat_erasures(settings: Settings, notify: Notify) -> int:
    """Erase again who is back by a message from before; returns the number of customers.

    Kafka may hold messages of an erased customer, which a stream that was behind, a redriven dead
    letter or a rebuilt database brings back until `erasures.repeat_until`. Only hashes are known,
    so the ids that are stored are compared with them.
    """
    with psycopg.connect(settings.postgres.dsn, autocommit=True) as connection:
        back = {customer_id for (customer_id,) in connection.execute(_BACK).fetchall()}
        back |= _rejected_again(connection)
    for customer_id in sorted(back):
        erase(settings, customer_id, notify)
    return len(back)


def _rejected_again(connection: psycopg.Connection[Any]) -> set[str]:
    """Pending customers of dead letters that came since they were erased."""
    pending = connection.execute(
        "SELECT customer_hash, salt FROM erasures WHERE repeat_until > now()"
    ).fetchall()
    bodies = connection.execute(
        "SELECT value FROM dead_letters WHERE rejected_at > "
        "(SELECT min(requested_at) FROM erasures WHERE repeat_until > now())"
    ).fetchall()
    ids = {customer_of(body) for (body,) in bodies} - {None}
    return {
        one
        for one in ids
        for digest, salt in pending
        if one and sha256((salt + one).encode()).digest() == digest
    }


_BACK = """
    WITH pending AS (SELECT customer_hash, salt FROM erasures WHERE repeat_until > now()),
    stored AS (
        SELECT customer_id FROM orders_processed
        UNION SELECT payload #>> '{order,customer_id}' FROM orders_raw
    )
    SELECT DISTINCT customer_id FROM stored, pending
    WHERE customer_hash = sha256(convert_to(salt || customer_id, 'UTF8'))"""
