"""Everything that is stored of one customer, as JSON (article 20 of the GDPR)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from conf.settings import Settings
from streaming.lake.formats import open_lake
from streaming.lake.protocol import MissingTableError
from streaming.lake.tables import TABLES
from streaming.privacy.person import Person
from streaming.privacy.serving import Columns, rows_of, text_tables
from streaming.privacy.tables import matching_rows
from streaming.privacy.topics import messages_with


def export(settings: Settings, customer_id: str) -> dict[str, Any]:
    """The rows and messages of the customer by store and table; times are in UTC.

    Rows of the customer's orders that do not name the customer, such as their items and status
    changes, are included. Amounts are JSON texts with all their digits, bytes are texts.

    Raises:
        KafkaException: Kafka does not answer.
    """
    person = Person(customer_id)
    with psycopg.connect(settings.postgres.dsn, options="-c timezone=UTC") as connection:
        postgres = _postgres(connection, person)
    return {
        "customer_id": customer_id,
        "exported_at": datetime.now(timezone.utc).isoformat(),
        "postgres": postgres,
        "lake": _lake(settings, person),
        "kafka": [_plain(row) for row in messages_with(settings, person) if person.owns(row)],
    }


def _postgres(connection: psycopg.Connection[Any], person: Person) -> dict[str, Any]:
    tables = text_tables(connection)
    own = {
        table: [at for at, row in rows_of(connection, table, columns, person) if person.owns(row)]
        for table, columns in tables.items()
    }
    orders = [
        row["order_id"]
        for table in ("orders_raw", "orders_processed")
        for row in _rows(connection, table, tables[table], own[table], [])
    ]
    found = {t: _rows(connection, t, columns, own[t], orders) for t, columns in tables.items()}
    return {table: rows for table, rows in found.items() if rows}


def _rows(
    connection: psycopg.Connection[Any],
    table: str,
    columns: Columns,
    places: list[str],
    orders: list[str],
) -> list[Any]:
    """Whole rows at some places of a table, and those of some orders."""
    of_orders = sql.SQL("OR order_id = ANY(%(orders)s)" if "order_id" in columns else "")
    query = sql.SQL("SELECT t.* FROM {} t WHERE ctid = ANY(%(places)s::tid[]) {}").format(
        sql.Identifier(table), of_orders
    )
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        found = cursor.execute(query, {"places": places, "orders": orders}).fetchall()
    return [_plain(row) for row in found]


def _lake(settings: Settings, person: Person) -> dict[str, Any]:
    found = {}
    with open_lake(settings) as lake:
        for table in TABLES:
            try:
                rows = lake.read(table.name)
            except MissingTableError:  # the streams make it
                continue
            looked_at = rows.take(pa.array(matching_rows(rows, person), pa.int64())).to_pylist()
            found[table.name] = [_plain(row) for row in looked_at if person.owns(row)]
    return {table: rows for table, rows in found.items() if rows}


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).decode(errors="backslashreplace")
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
