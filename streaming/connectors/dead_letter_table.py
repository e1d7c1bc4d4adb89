"""Rejected order messages in Postgres, and what becomes of those that were sent back.

Delivery guarantee: that of `Database.commit_batch`, in whose transaction this runs. A batch that
comes again has no new rows; should one reach the table again, its key keeps it out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.types.json import Json

from streaming.connectors.orders import write_orders
from streaming.letters import ORIGIN_HEADER, letter_id, origin_of
from streaming.source import SOURCE_COLUMNS
from streaming.transforms.quarantine import split_judged

_COLUMNS = {
    "topic": "text",
    "partition": "int4",
    "position": "text",
    "key": "bytea",
    "value": "bytea",
    "headers": "json",
    "rules": "text[]",
    "event_id": "text",
    "order_id": "text",
    "received_at": "timestamptz",
    "origin": "text",
}
_NAMES = ", ".join(_COLUMNS)

_CELLS = [*SOURCE_COLUMNS, "rules", "event_id", "order_id"]

_UNREAD = (
    "broker_metadata_readable",
    "value_present",
    "value_not_too_large",
    "valid_utf8",
    "storable_text",
    "json_object",
)
"""Of a message that fails one of these, nothing was read, or nothing that a text can hold."""

_LONGEST_ID = 64

_STAGE_SQL = f"""
    CREATE TEMP TABLE IF NOT EXISTS rejected
        ({", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())}) ON COMMIT DELETE ROWS"""

# S608: built from the constants above only.
_INSERT_SQL = f"""
    INSERT INTO dead_letters ({_NAMES}) SELECT {_NAMES} FROM pg_temp.rejected
    ON CONFLICT DO NOTHING"""  # noqa: S608

# Whatever the order in which the copies of a message arrive: one good copy resolves for good.
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


def write_judged(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    """Rows of `SILVER_SCHEMA`: the good ones to the orders, the others to the dead letters."""
    good, rejected = split_judged(rows)
    write_orders(connection, good)
    _insert(connection, rows.filter(pc.greater(pc.list_value_length(rows["rules"]), 0)))
    for query, came in ((_SUPERSEDE_SQL, _origins(rejected)), (_RESOLVE_SQL, _origins(good))):
        if came:
            connection.execute(query, (list(came), list(came.values())))


def _insert(connection: psycopg.Connection[Any], rejected: pa.Table) -> None:
    """Row by row, so that large values are in memory one at a time."""
    if not rejected.num_rows:
        return
    connection.execute(_STAGE_SQL)
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY pg_temp.rejected ({_NAMES}) FROM STDIN (FORMAT binary)") as copy,
    ):
        copy.set_types(list(_COLUMNS.values()))
        for row in _letters(rejected):
            copy.write_row(row)
    connection.execute(_INSERT_SQL)


def _letters(rejected: pa.Table) -> Iterator[Sequence[Any]]:
    """The rows of the table, in the order of its columns."""
    now = datetime.now(timezone.utc)
    unread = pc.is_in(pc.list_element(rejected["rules"], 0), pa.array(_UNREAD))
    for name in ("event_id", "order_id"):
        at = rejected.schema.get_field_index(name)
        rejected = rejected.set_column(at, name, pc.if_else(unread, None, rejected[name]))
    for batch in rejected.select(_CELLS).to_batches(max_chunksize=100):
        for row in batch.to_pylist():
            headers = _pairs(row["headers"])
            own = letter_id(row["topic"], row["partition"], row["position"])
            yield (
                row["topic"],
                row["partition"],
                row["position"],
                row["key"],
                row["value"],
                Json(_as_json(headers)) if headers else None,
                row["rules"],
                _readable(row["event_id"]),
                _readable(row["order_id"]),
                row["timestamp"] or now,
                _origin(headers, own),
            )


def _readable(text: str | None) -> str | None:
    """An id as the contract allows it: a longer one would not fit into an index."""
    return text if text and len(text) <= _LONGEST_ID else None


def _pairs(headers: Sequence[Mapping[str, Any]] | None) -> list[tuple[str, bytes | None]]:
    return [(h["key"], h["value"]) for h in headers or []]


def _as_json(headers: Sequence[tuple[str, bytes | None]]) -> list[list[str | None]]:
    return [[n, None if v is None else base64.b64encode(v).decode()] for n, v in headers]


def _origin(headers: Sequence[tuple[str, bytes | None]], own: str) -> str | None:
    """A message that says it was sent back for itself was not."""
    origin = origin_of(headers)
    return None if origin == own else origin


def _origins(rows: pa.Table) -> dict[str, str]:
    """Dead letter -> what was sent back for it, of the rows that were."""
    names = pc.struct_field(pc.list_flatten(rows["headers"]), "key")
    if not pc.any(pc.equal(names, ORIGIN_HEADER)).as_py():
        return {}
    found: dict[str, str] = {}
    for row in rows.select(["topic", "partition", "position", "headers"]).to_pylist():
        own = letter_id(row["topic"], row["partition"], row["position"])
        origin = _origin(_pairs(row["headers"]), own)
        if origin:
            found.setdefault(origin, own)
    return dict(sorted(found.items()))  # one order of locks for everybody
