"""Writes rejected order messages to Postgres, and the results of redriven ones.

Delivery guarantee: that of `Database.commit_batch`, in whose transaction this runs. A repeated
batch has no new rows; the key of the table would reject one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from streaming.dlq_ids import ORIGIN_HEADER, dead_letter_id, origin_of
from streaming.sinks.orders import write_orders
from streaming.source import SOURCE_COLUMNS
from streaming.sources.messages import (
    MESSAGE_COLUMNS,
    header_pairs,
    insert_messages,
    message_rows,
)
from streaming.transforms.quarantine import split_validated

_COLUMNS = {
    **MESSAGE_COLUMNS,
    "rules": "text[]",
    "event_id": "text",
    "order_id": "text",
    "origin": "text",
}

_CELLS = [*SOURCE_COLUMNS, "rules", "event_id", "order_id"]

_UNREAD = (
    "broker_metadata_readable",
    "value_present",
    "value_not_too_large",
    "valid_utf8",
    "storable_text",
    "json_object",
)
"""A message that fails one of these rules has no ids that a text column can hold."""

_LONGEST_ID = 64

# One good copy of a message resolves it, in whatever order the copies arrive.
_RESOLVE_SQL = """
    UPDATE dead_letters d SET status = 'resolved', resolved_at = now(),
        redriven_as = coalesce(d.redriven_as, came.back_as)
    FROM unnest(%s::text[], %s::text[]) AS came (id, back_as)
    WHERE d.id = came.id AND d.status <> 'resolved'"""

_SUPERSEDE_SQL = """
    UPDATE dead_letters d SET status = 'superseded',
        redriven_as = coalesce(d.redriven_as, came.back_as)
    FROM unnest(%s::text[], %s::text[]) AS came (id, back_as)
    WHERE d.id = came.id AND d.status IN ('open', 'redriven')"""


def write_validated(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    """Write rows of `SILVER_SCHEMA`: good ones to the orders, others to the rejected messages."""
    good, rejected = split_validated(rows)
    write_orders(connection, good)
    _insert(connection, rows.filter(pc.greater(pc.list_value_length(rows["rules"]), 0)))
    for query, came in ((_SUPERSEDE_SQL, _origins(rejected)), (_RESOLVE_SQL, _origins(good))):
        if came:
            connection.execute(query, (list(came), list(came.values())))


def _insert(connection: psycopg.Connection[Any], rejected: pa.Table) -> None:
    if rejected.num_rows:
        insert_messages(connection, "dead_letters", _COLUMNS, _dead_letters(rejected))


def _dead_letters(rejected: pa.Table) -> Iterator[Sequence[Any]]:
    """The rows of the table, in the order of its columns."""
    unread = pc.is_in(pc.list_element(rejected["rules"], 0), pa.array(_UNREAD))
    for name in ("event_id", "order_id"):
        at = rejected.schema.get_field_index(name)
        rejected = rejected.set_column(at, name, pc.if_else(unread, None, rejected[name]))
    for row, message in message_rows(rejected.select(_CELLS)):
        own = dead_letter_id(row["topic"], row["partition"], row["position"])
        yield (
            *message,
            row["rules"],
            _readable(row["event_id"]),
            _readable(row["order_id"]),
            _origin(header_pairs(row["headers"]), own),
        )


def _readable(text: str | None) -> str | None:
    """The id, unless it is longer than the contract allows and does not fit into an index."""
    return text if text and len(text) <= _LONGEST_ID else None


def _origin(headers: Sequence[tuple[str, bytes | None]], own: str) -> str | None:
    """The origin in the headers; None where it is the message itself."""
    origin = origin_of(headers)
    return None if origin == own else origin


def _origins(rows: pa.Table) -> dict[str, str]:
    """Rejected message -> message that was redriven from it."""
    names = pc.struct_field(pc.list_flatten(rows["headers"]), "key")
    if not pc.any(pc.equal(names, ORIGIN_HEADER)).as_py():
        return {}
    found: dict[str, str] = {}
    for row in rows.select(["topic", "partition", "position", "headers"]).to_pylist():
        own = dead_letter_id(row["topic"], row["partition"], row["position"])
        origin = _origin(header_pairs(row["headers"]), own)
        if origin:
            found.setdefault(origin, own)
    return dict(sorted(found.items()))  # all transactions lock rows in the same order
