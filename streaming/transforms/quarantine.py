"""Rejected messages, whole: what every quarantine table holds."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

SOURCE_COLUMNS = ("key", "value", "topic", "partition", "position", "timestamp", "headers")


def to_quarantine(judged: DataFrame) -> DataFrame:
    """Judged rows that failed a rule -> source columns and the ids of the failed rules."""
    return judged.where(F.size("rules") > 0).select(*SOURCE_COLUMNS, "rules")
