"""Shared by all recomputations: whole hours, Spark with the database, and the messages to read."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from conf.errors import StorelakeError
from conf.settings import Settings
from streaming.progress import Progress
from streaming.runtime.session import build_session
from streaming.sinks.postgres import Database

HOUR = timedelta(hours=1)


class RestateError(StorelakeError):
    """A window that cannot be recomputed; the message gives the reason."""


def whole_hours(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Start and end of a window, in UTC.

    Raises:
        RestateError: the window is empty, or does not begin and end on the hour.
    """
    for moment in (start, end):
        if moment.tzinfo is None or moment.timestamp() % HOUR.total_seconds():
            raise RestateError(
                f"{moment.isoformat()} is not a full hour with a time zone, like "
                "2024-05-01T10:00:00Z: hours are restated whole."
            )
    if start >= end:
        raise RestateError(f"{start.isoformat()} is not before {end.isoformat()}.")
    return start.astimezone(timezone.utc), end.astimezone(timezone.utc)


@contextmanager
def spark_and_database(settings: Settings) -> Iterator[tuple[SparkSession, Database]]:
    """A Spark session and a pool of connections; both are closed at the end."""
    spark = build_session(settings, "storelake:restate")
    try:
        with closing(Database(settings.postgres.dsn, 2)) as db:
            yield spark, db
    finally:
        spark.stop()


def up_to(positions: Progress) -> Column:
    """Whether a row of bronze is at or before the position of its topic partition."""
    parts = [
        (F.col("topic") == topic) & (F.col("partition") == part) & (F.col("position") <= position)
        for (topic, part), position in positions.items()
    ]
    return functools.reduce(operator.or_, parts, F.lit(False))
