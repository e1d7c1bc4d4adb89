"""Late events: stored in Postgres, replicated to the lake.

Delivery guarantee: exactly-once in effect. The transaction that decides that an event is late also
writes it. Replication follows `change_id`: the next call copies what a crash has left out, and a
row that is copied twice has the same key.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pyarrow as pa

from streaming.lake.tables import QUARANTINE_LATE_EVENTS
from streaming.sinks.replicate import replicate_rows
from streaming.sources.messages import (
    MESSAGE_COLUMNS,
    headers_from_json,
    insert_messages,
    message_rows,
)
from streaming.stream import SinkContext

_COLUMNS = {**MESSAGE_COLUMNS, "rules": "text[]"}

_LATE_SQL = """
    SELECT key, value, topic, partition, position, received_at AS timestamp, headers, rules,
        change_id
    FROM late_events"""

ROWS_AT_ONCE = 1_000
"""Late events in memory: each may have a megabyte."""


def insert_late(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    """Insert late events, in the transaction that has decided that they are late.

    Transactions that insert some wait for each other, so change_id rises in commit order.

    Args:
        connection: in a transaction that has written no other row yet.
        rows: source columns and `rules`.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('late_events', 0))")
    values = ((*message, row["rules"]) for row, message in message_rows(rows))
    insert_messages(connection, "late_events", _COLUMNS, values)


def replicate_late(sink_context: SinkContext) -> int:
    """Replicate new late events to the lake; returns the number of rows copied."""
    return replicate_rows(sink_context, QUARANTINE_LATE_EVENTS, _LATE_SQL, ROWS_AT_ONCE, _message)


def _message(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "headers": headers_from_json(row["headers"])}
