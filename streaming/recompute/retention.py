"""Delete rows about single people once they are older than the retention limit.

It deletes boxes, tracks, crossings and visits, and keeps counts per minute and hour, which are not
about single people. The broker expires messages by its own setting (`retention.ms` of the topic),
the streams the state of tracks by `streams.track_ttl`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone

import psycopg

from conf.errors import StorelakeError
from conf.settings import Settings
from streaming.jobs import footfall
from streaming.lake.formats import open_lake, purge
from streaming.lake.iceberg.purge import Purged
from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    QUARANTINE_DETECTIONS,
    SILVER_DETECTIONS,
    SILVER_LINE_CROSSINGS,
    SILVER_ZONE_VISITS,
)
from streaming.sinks.postgres import Database

AGED = (
    (BRONZE_DETECTIONS, "timestamp"),
    (QUARANTINE_DETECTIONS, "timestamp"),
    (SILVER_DETECTIONS, "captured_at"),
    (SILVER_LINE_CROSSINGS, "crossed_at"),
    (SILVER_ZONE_VISITS, "entered_at"),
)
"""Tables of the lake about single people, and the column that states the age of a row."""

SERVED = (("line_crossings", "crossed_at"), ("zone_visits", "entered_at"))
"""The same in Postgres."""


class RetentionError(StorelakeError):
    """Rows above the age are left; the message names the files."""


def apply_retention(
    settings: Settings, older_than: timedelta, notify: Callable[[str], None]
) -> list[Purged]:
    """Delete older rows from Postgres and from the files of the lake; streams may run.

    Args:
        settings: of the deployment.
        older_than: the age above which rows are deleted.
        notify: called with the name of each table.

    Returns:
        For each table, counts of what was deleted and of what its files still contain.

    Raises:
        RetentionError: the age is not positive, or files still hold older rows.
    """
    if older_than <= timedelta(0):
        raise RetentionError("The age must be more than nothing.")
    before = datetime.now(timezone.utc) - older_than
    # Postgres first: deleted rows cannot be replicated to the lake again.
    _delete_served(settings, before)
    purged = []
    with open_lake(settings) as lake:
        for table, time_column in AGED:
            notify(table.name)
            purged.append(purge(lake, table, time_column, before))
    left = [f"{p.table}: {file}" for p in purged for file in p.left_in]
    if left:
        raise RetentionError(
            f"Files still hold rows from before {before:%Y-%m-%d %H:%M %Z}, since a commit under "
            "way or a tag may need them; run the command again later, or drop the tag: "
            + "; ".join(left)
        )
    return purged


def _delete_served(settings: Settings, before: datetime) -> None:
    with (
        closing(Database(settings.postgres.dsn, 1)) as db,
        db.writing(footfall.STREAM.name) as connection,
    ):
        for table, column in SERVED:
            # S608: names come from this repository, not from input.
            delete = f"DELETE FROM {table} WHERE {column} < %s"  # noqa: S608
            connection.execute(delete.encode(), (before,))
    # Deleted rows remain in the files of Postgres until a vacuum.
    with psycopg.connect(settings.postgres.dsn, autocommit=True) as connection:
        for table, _ in SERVED:
            connection.execute(f"VACUUM {table}".encode())
