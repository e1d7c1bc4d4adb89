"""What each role of the database may do; only the owner of the tables may change them.

The console's role reads no names of customers and no bodies of messages, and of the lake's catalog
where one table is: silver.detections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from pydantic import SecretStr

from conf.settings import Settings
from conf.settings.storage import ROLES
from infra.errors import ServiceError

READS: Mapping[str, tuple[str, ...]] = {
    "store_hourly": (),
    "order_metrics": (),
    "footfall_minute": (),
    "zone_dwell_hourly": (),
    "queue_minute": (),
    "stream_batches": (),
    "stream_offsets": (),
    "quality_results": (),
    "orders_processed": (
        *("order_id", "branch_id", "status", "currency", "total_price"),
        *("created_at", "last_event_at", "updated_at", "is_return"),
    ),
    "order_items": ("order_id", "line_no", "quantity"),
    "order_status_history": ("order_id", "anomaly", "changed_at", "recorded_at", "change_id"),
    "zone_visits": ("entered_at", "exited_at", "updated_at", "is_open"),
    "dead_letters": ("topic", "rules", "status", "received_at", "rejected_at"),
}
"""Table -> its columns; none: all of them."""


RIGHTS: Mapping[str, Sequence[str]] = {
    "writer": ("SELECT", "INSERT", "UPDATE", "DELETE", "MAINTAIN"),
    "reader": ("SELECT",),
    "quality": ("SELECT",),
}
"""Role -> what it may do with all tables and views but `PRIVATE`; MAINTAIN is for VACUUM."""

MORE_RIGHTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "writer": {"erasures": ("SELECT", "INSERT", "UPDATE")},
    "quality": {"quality_results": ("INSERT", "DELETE"), "iceberg_tables": ("UPDATE",)},
    "gateway": {"gateway_keys": ("SELECT", "UPDATE (last_used_at)")},
    "steward": {
        "dead_letters": (
            "SELECT",
            "UPDATE (fixed_value, fixed_at, redriven_at, redriven_as, status)",
        ),
        "dead_letter_audit": ("SELECT", "INSERT"),
        "topic_generations": ("SELECT",),
    },
    "console": {"detections_metadata": ("SELECT",)}
    | {
        table: (f"SELECT ({', '.join(columns)})" if columns else "SELECT",)
        for table, columns in READS.items()
    },
}
"""Role -> table -> what it may do besides."""

PRIVATE = frozenset({"gateway_keys", "applied_functions", "erasures", "dead_letter_audit"})
"""Tables that only the owner and the roles of `MORE_RIGHTS` may read."""

TEMPORARY_TABLES = ("writer", "quality")
LEAST_VERSION_OF_MAINTAIN = 170_000


def logins(settings: Settings) -> dict[str, tuple[str, SecretStr | None]]:
    """Role -> its name on the server, which need not differ from others', and its password."""
    postgres, console = settings.postgres, settings.console
    ours: dict[str, tuple[str, SecretStr | None]] = {
        role: (postgres.user_of(role), postgres.password_of(role)) for role in ROLES
    }
    return {**ours, "console": (console.user, console.password)}


def connection_limit(role: str) -> int:
    """Connections of a role at most; -1 is no limit."""
    return 8 if role in ("console", "steward") else -1


def grant_roles(connection: psycopg.Connection[Any], settings: Settings) -> None:
    """Create the roles that are missing, and grant each what is declared here and nothing else.

    Args:
        connection: of the owner of the tables, in autocommit.
        settings: with the names of the roles, and the passwords of those to create.

    Raises:
        ServiceError: a role is missing and cannot be created; the message has the remedy.
    """
    known = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    failed = [
        name
        for role, (name, password) in logins(settings).items()
        if name not in known and not _create(connection, name, password, connection_limit(role))
    ]
    if failed:
        raise ServiceError(
            f"Postgres lacks the roles {', '.join(failed)}, which {settings.postgres.user} cannot "
            "create: run `storelake restart` for the local server; on yours, create each as its "
            "administrator with CREATE ROLE ... LOGIN PASSWORD ... (docs/SECURITY.md)."
        )
    with connection.transaction():
        _grant(connection, settings)


def _create(
    connection: psycopg.Connection[Any], name: str, password: SecretStr | None, limit: int
) -> bool:
    if password is None:
        return False
    # The server gets, and may log, only what SCRAM derives from the password.
    secret = password.get_secret_value().encode()
    verifier = connection.pgconn.encrypt_password(secret, name.encode(), b"scram-sha-256")
    create = sql.SQL("CREATE ROLE {} LOGIN CONNECTION LIMIT {} PASSWORD {}")
    with suppress(psycopg.errors.InsufficientPrivilege):
        connection.execute(create.format(sql.Identifier(name), limit, verifier.decode()))
        return True
    return False


def _grant(connection: psycopg.Connection[Any], settings: Settings) -> None:
    owner, database = settings.postgres.user, settings.postgres.database
    names = {role: name for role, (name, _) in logins(settings).items() if name != owner}
    tables, sequences = _owned(connection, "rpvm"), _owned(connection, "S")
    data = [table for table in tables if table not in PRIVATE and "yoyo" not in table]
    maintain = connection.info.server_version >= LEAST_VERSION_OF_MAINTAIN
    change = _Changes(connection)
    for name in ("PUBLIC", *names.values()):
        change("REVOKE", ["ALL"], "TABLE", tables, name)
        change("REVOKE", ["ALL"], "SEQUENCE", sequences, name)
        change("REVOKE", ["ALL"], "DATABASE", [database], name)
        change("REVOKE", ["CREATE"], "SCHEMA", ["public"], name)
    for role, name in names.items():
        rights = [one for one in RIGHTS.get(role, ()) if one != "MAINTAIN" or maintain]
        change("GRANT", rights, "TABLE", data, name)
        for table, more in MORE_RIGHTS.get(role, {}).items():
            change("GRANT", more, "TABLE", [table] if table in tables else [], name)
        change("GRANT", ["CONNECT"], "DATABASE", [database], name)
        change("GRANT", ["USAGE"], "SCHEMA", ["public"], name)
        if role in TEMPORARY_TABLES:
            change("GRANT", ["TEMPORARY"], "DATABASE", [database], name)
        if role == "writer":
            change("GRANT", ["USAGE"], "SEQUENCE", sequences, name)


def _owned(connection: psycopg.Connection[Any], kinds: str) -> list[str]:
    """Names of our own relations of these kinds (`pg_class.relkind`)."""
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relowner = current_user::regrole AND relkind::text = ANY (%s)",
        (list(kinds),),
    )
    return [name for (name,) in found]


@dataclass(frozen=True)
class _Changes:
    """Grants or revokes rights on objects; nothing where there are none of either."""

    connection: psycopg.Connection[Any]

    def __call__(
        self, verb: str, rights: Sequence[str], kind: str, objects: Sequence[str], role: str
    ) -> None:
        if not rights or not objects:
            return
        names = sql.SQL(", ").join(map(sql.Identifier, objects)).as_string()
        who = role if role == "PUBLIC" else sql.Identifier(role).as_string()
        toward = "TO" if verb == "GRANT" else "FROM"
        # The names are quoted, and all else is from this file.
        text = f"{verb} {', '.join(rights)} ON {kind} {names} {toward} {who}"
        self.connection.execute(text.encode())
