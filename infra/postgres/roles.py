"""What the console's role of the database may read: tables and columns, one by one.

No names of customers, no bodies of messages, no catalog of the lake; and nothing can be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

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
    "order_status_history": ("order_id", "anomaly", "changed_at", "recorded_at", "change_id"),
    "zone_visits": ("exited_at", "updated_at", "is_open"),
    "dead_letters": ("topic", "rules", "status", "received_at", "rejected_at"),
}
"""Table -> its columns; none: all of them."""


def grant_console(connection: psycopg.Connection[Any], role: str) -> bool:
    """Let the role read `READS`, and nothing that it was granted before besides.

    Args:
        connection: of the owner of the tables, in autocommit.
        role: its name.

    Returns:
        Whether the server has such a role; without one nothing is done.
    """
    if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchall():
        return False
    reader = sql.Identifier(role)
    with connection.transaction():
        for table, columns in READS.items():
            name = sql.Identifier(table)
            of = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
            connection.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(name, reader))
            connection.execute(
                sql.SQL("GRANT SELECT {} ON {} TO {}").format(
                    of if columns else sql.SQL(""), name, reader
                )
            )
    return True
