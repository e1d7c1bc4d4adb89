"""What each role of the database may do, tried on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from conf.settings import Settings
from conf.settings.storage import PostgresRole
from infra.errors import ServiceError
from infra.postgres.migrate import migrate
from infra.postgres.roles import PRIVATE, READS, logins

DENIED = psycopg.errors.InsufficientPrivilege


@pytest.fixture(scope="module")
def tables(services: Settings) -> list[str]:
    """All tables, without the bookkeeping of migrations."""
    with psycopg.connect(services.owner_dsn) as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
            "AND tablename NOT LIKE '%yoyo%' ORDER BY 1"
        )
        return [name for (name,) in rows]


@pytest.fixture
def connections(services: Settings) -> Iterator[dict[str, psycopg.Connection[tuple[object, ...]]]]:
    """One connection of each role, in autocommit."""
    dsns = {role: services.acting_as(role).postgres.dsn for role in _roles()}
    dsns["console"] = services.console_dsn
    opened = {role: psycopg.connect(dsn, autocommit=True) for role, dsn in dsns.items()}
    yield opened
    for connection in opened.values():
        connection.close()


def _roles() -> tuple[PostgresRole, ...]:
    return ("writer", "reader", "quality", "gateway", "steward")


def _may(connection: psycopg.Connection[tuple[object, ...]], table: str, statement: str) -> bool:
    try:
        connection.execute(sql.SQL(statement).format(sql.Identifier(table)))  # type: ignore[arg-type]
    except DENIED:
        return False
    return True


READ, EMPTY = "SELECT FROM {} LIMIT 0", "DELETE FROM {} WHERE false"


def test_only_the_writer_writes_data(
    connections: dict[str, psycopg.Connection[tuple[object, ...]]], tables: list[str]
) -> None:
    data = [table for table in tables if table not in PRIVATE]
    assert len(data) > 25
    writes = {
        role: {table for table in data if _may(one, table, EMPTY)}
        for role, one in connections.items()
    }
    nothing: set[str] = set()
    assert writes == {
        "writer": set(data),
        "reader": nothing,
        "quality": {"quality_results"},
        "gateway": nothing,
        "steward": nothing,
        "console": nothing,
    }


def test_each_role_reads_only_what_it_needs(
    connections: dict[str, psycopg.Connection[tuple[object, ...]]], tables: list[str]
) -> None:
    data = {table for table in tables if table not in PRIVATE}
    reads = {
        role: {table for table in tables if _may(one, table, READ)}
        for role, one in connections.items()
    }
    assert reads["reader"] == reads["quality"] == data
    assert reads["writer"] == {*data, "erasures"}
    assert reads["console"] == set(READS)
    assert reads["gateway"] <= {"gateway_keys"}
    assert reads["steward"] == {"dead_letters", "dead_letter_audit", "topic_generations"}


def test_nobody_rewrites_who_opened_a_dead_letter(
    connections: dict[str, psycopg.Connection[tuple[object, ...]]],
) -> None:
    for role, one in connections.items():
        assert not _may(one, "dead_letter_audit", EMPTY), role
        assert not _may(one, "dead_letter_audit", "UPDATE {} SET actor = 'nobody'"), role
    assert not _may(connections["steward"], "dead_letters", "UPDATE {} SET value = NULL")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE public.theirs (n int)",
        "CREATE SCHEMA theirs",
        "CREATE FUNCTION public.theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER TABLE orders_raw ADD COLUMN theirs int",
        "DROP TABLE orders_raw",
        "TRUNCATE orders_raw",
        "CREATE OR REPLACE FUNCTION exclude_staff() RETURNS void LANGUAGE sql AS 'SELECT'",
        "CREATE TRIGGER theirs AFTER INSERT ON orders_raw EXECUTE FUNCTION exclude_staff()",
        "CREATE ROLE theirs",
        "GRANT SELECT ON orders_raw TO storelake_console",
        "SET ROLE storelake",
        "COPY orders_raw TO PROGRAM 'true'",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT FROM pg_authid",
    ],
)
def test_no_role_but_the_owner_changes_tables_or_rights(
    connections: dict[str, psycopg.Connection[tuple[object, ...]]], statement: str
) -> None:
    for role, connection in connections.items():
        # A grant without the right to it is either refused or only warned of, and has no effect.
        allowed = _may(connection, "", statement) and not statement.startswith("GRANT")
        assert not allowed, role
    if statement.startswith("GRANT"):
        assert not _may(connections["console"], "orders_raw", READ)


def test_what_was_granted_before_is_revoked(services: Settings) -> None:
    with psycopg.connect(services.owner_dsn, autocommit=True) as owner:
        owner.execute("GRANT ALL ON orders_raw TO storelake_reader, storelake_console, PUBLIC")
    migrate(services)
    with psycopg.connect(services.console_dsn, autocommit=True) as console:
        assert not _may(console, "orders_raw", READ)
    with psycopg.connect(services.acting_as("reader").postgres.dsn, autocommit=True) as reader:
        assert not _may(reader, "orders_raw", EMPTY)
        assert _may(reader, "orders_raw", READ)


def test_temporary_tables_are_for_who_stages_rows(
    connections: dict[str, psycopg.Connection[tuple[object, ...]]],
) -> None:
    stage = "CREATE TEMP TABLE staged (n int)"
    assert {role for role, one in connections.items() if _may(one, "", stage)} == {
        "writer",
        "quality",
    }


def test_a_role_that_cannot_be_created_is_named(services: Settings) -> None:
    other = services.postgres.model_copy(update={"reader_user": "nobody_yet"})
    with pytest.raises(ServiceError, match="lacks the roles nobody_yet"):
        migrate(services.model_copy(update={"postgres": other}))


def test_one_name_may_stand_for_all_roles(services: Settings) -> None:
    one = services.postgres.user
    names = {f"{role}_user": one for role in _roles()}
    alone = services.model_copy(
        update={
            "postgres": services.postgres.model_copy(update=names),
            "console": services.console.model_copy(update={"user": one}),
        }
    )
    migrate(alone)
    assert {name for name, _ in logins(alone).values()} == {one}
    with psycopg.connect(alone.acting_as("writer").postgres.dsn) as connection:
        connection.execute("SELECT FROM orders_raw LIMIT 0")
    migrate(services)
