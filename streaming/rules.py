"""Row rules as Spark Columns: cheap, inline, and named by the id that quarantine shows.

A rule is true for a good row. Null counts as broken: a rule that cannot be judged has failed.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812

INSTANT = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$"
UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
MAX_VALUE_BYTES = 1024 * 1024

# What JSON allows in a text and PostgreSQL's text and jsonb do not: NUL, half a surrogate pair,
# numbers beyond `numeric`. https://www.postgresql.org/docs/18/datatype-json.html
_UNSTORABLE = (
    r"\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
    r"|[:,\[]\s*-?\d[\d.]*[eE][+-]?\d{4}"
)


def failed(rules: Mapping[str, Column]) -> Column:
    """array<string>: the ids of the rules that a row fails; empty for a good row."""
    return F.array_compact(
        F.array(
            *(F.when(~F.coalesce(rule, F.lit(False)), F.lit(name)) for name, rule in rules.items())
        )
    )


def envelope_rules(value: Column, text: Column) -> dict[str, Column]:
    """Rules on the bytes of a message, before anything is parsed."""
    return {
        "value_present": F.octet_length(value) > 0,
        "value_not_too_large": F.octet_length(value) <= MAX_VALUE_BYTES,
        "valid_utf8": F.is_valid_utf8(value),
        "storable_text": ~text.rlike(_UNSTORABLE),
    }


def is_text(column: Column, longest: int = 64) -> Column:
    """A string of 1 to `longest` characters."""
    return F.length(column).between(1, longest)


def is_money(column: Column) -> Column:
    """A positive amount of at most two places, below ten millions."""
    return (
        (column > 0)
        & (column <= F.lit("9999999.99").cast("decimal(12,2)"))
        & (column == F.round(column, 2))
    )


def is_instant(column: Column) -> Column:
    """Text in ISO 8601, UTC, with a Z, that names a real moment from the year 2000 on."""
    return column.rlike(INSTANT) & (instant(column) >= F.lit("2000-01-01").cast("timestamp"))


def instant(column: Column) -> Column:
    """The text as a timestamp, or null."""
    return F.try_to_timestamp(column)
