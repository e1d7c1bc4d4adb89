"""One customer in every text, JSON and bytes column of every table of Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from streaming.privacy.person import Person, Row

REJECTED = frozenset({"dead_letters", "refused_rows"})
"""Tables of messages that count in no sum: the body of the customer's is deleted."""
_COLUMNS = """
    SELECT c.table_name, array_agg(c.column_name::text), array_agg(c.udt_name::text)
    FROM information_schema.columns c
    JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.is_generated = 'NEVER'
        AND c.udt_name IN ('text', 'varchar', 'bpchar', 'json', 'jsonb', 'bytea', '_text')
    GROUP BY 1 ORDER BY 1"""

Columns = dict[str, str]
Connection = psycopg.Connection[Any]


def text_tables(connection: Connection) -> dict[str, Columns]:
    """Every table -> its columns that may hold text, with their types; new tables included."""
    found = connection.execute(_COLUMNS).fetchall()
    return {table: dict(zip(names, types, strict=True)) for table, names, types in found}


@retry(
    retry=retry_if_exception_type(psycopg.errors.DeadlockDetected),
    wait=wait_random_exponential(max=2),
    stop=stop_after_attempt(10),
    reraise=True,
)
def erase_rows(connection: Connection, table: str, columns: Columns, person: Person) -> int:
    """Redact the customer in one table, in one transaction; returns the number of changed rows.

    The table is noted in `erasures.touched` until `vacuum` has removed the former rows.
    """
    changed = 0
    with connection.transaction():
        for at, row in list(_candidates(connection, table, columns, person, lock=True)):
            new = person.redacted_row(row, rejected=table in REJECTED)
            differing = {name: value for name, value in new.items() if value != row[name]}
            if differing:
                _update(connection, table, at, {n: (columns[n], v) for n, v in differing.items()})
                changed += 1
        if changed:
            connection.execute(
                "UPDATE erasures SET touched = array_append(touched, %s) "
                "WHERE customer_hash = sha256(convert_to(salt || %s, 'UTF8'))",
                (table, person.id),
            )
    return changed


def rows_of(
    connection: Connection, table: str, columns: Columns, person: Person
) -> Iterator[tuple[str, Row]]:
    """Place and text columns of the rows that mention the customer."""
    for at, row in _candidates(connection, table, columns, person, lock=False):
        if person.redacted_row(row, rejected=False) != row:
            yield at, row


def vacuum(connection: Connection, person: Person) -> list[str]:
    """Rewrite the touched tables without their former rows, and their statistics.

    A lock keeps writers of a table waiting for the time of its rewriting. The connection is in
    autocommit.
    """
    mine = "WHERE customer_hash = sha256(convert_to(salt || %s, 'UTF8'))"
    found = connection.execute(f"SELECT touched FROM erasures {mine}", (person.id,)).fetchone()  # noqa: S608
    touched = sorted(set(found[0])) if found else []
    for table in touched:
        connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.Identifier(table)))
    connection.execute(f"UPDATE erasures SET touched = '{{}}' {mine}", (person.id,))  # noqa: S608
    return touched


def _candidates(
    connection: Connection, table: str, columns: Columns, person: Person, *, lock: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and text columns of the rows that have the characters of the id, or any escape."""
    chosen = sql.SQL(", ").join(_as_read(name, kind) for name, kind in columns.items())
    tests = sql.SQL(" OR ").join(_has(name, kind) for name, kind in columns.items())
    query = sql.SQL("SELECT ctid::text AS ctid, {} FROM {} WHERE {} {}").format(
        chosen, sql.Identifier(table), tests, sql.SQL("FOR UPDATE" if lock else "")
    )
    wanted = {"id": person.id, "bytes": person.id.encode(), "escape": b"\\", "u": "\\"}
    with connection.cursor(row_factory=dict_row) as cursor:
        for row in cursor.execute(query, wanted):
            yield row.pop("ctid"), row


def _as_read(name: str, kind: str) -> sql.Composed:
    cast = sql.SQL("::text") if kind in {"json", "jsonb"} else sql.SQL("")
    return sql.SQL("{}{} AS {}").format(sql.Identifier(name), cast, sql.Identifier(name))


def _has(name: str, kind: str) -> sql.Composed:
    column = sql.Identifier(name)
    if kind == "bytea":
        return sql.SQL(
            "position(%(bytes)s::bytea IN {0}) > 0 OR position(%(escape)s::bytea IN {0}) > 0"
        ).format(column)
    return sql.SQL("position(%(id)s IN {0}::text) > 0 OR position(%(u)s IN {0}::text) > 0").format(
        column
    )


def _update(
    connection: Connection, table: str, at: str, values: dict[str, tuple[str, Any]]
) -> None:
    assigned = sql.SQL(", ").join(
        sql.SQL("{} = %s::{}").format(sql.Identifier(name), sql.Identifier(kind))
        for name, (kind, _) in values.items()
    )
    query = sql.SQL("UPDATE {} SET {} WHERE ctid = %s::tid").format(sql.Identifier(table), assigned)
    connection.execute(query, (*(value for _, value in values.values()), at))
