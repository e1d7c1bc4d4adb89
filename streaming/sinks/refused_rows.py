"""Stores messages that the sink of a stream rejected because of their data, in Postgres.

Delivery guarantee: exactly-once in effect, by key (stream, topic, partition, position): in a
repeated batch the sink rejects the same rows.
"""

from __future__ import annotations

from typing import Any

import psycopg
import pyarrow as pa

from streaming.sources.messages import MESSAGE_COLUMNS, insert_messages, message_rows

_COLUMNS = {"stream": "text", **MESSAGE_COLUMNS, "error_class": "text", "error": "text"}


def write_refused(
    connection: psycopg.Connection[Any], stream: str, rows: pa.Table, error: Exception, cause: str
) -> None:
    """Insert rows that a sink rejected.

    Args:
        connection: in a transaction.
        stream: of the sink.
        rows: with topic, partition, position, and the other source columns where it reads messages.
        error: what the sink raised.
        cause: the same in one line.
    """
    reason = (type(error).__name__, cause.replace("\0", "\\0"))
    values = ((stream, *message, *reason) for _, message in message_rows(rows))
    insert_messages(connection, "refused_rows", _COLUMNS, values)
