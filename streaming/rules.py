"""Row rules as Spark Columns: cheap, inline, and named by the id that quarantine shows.

A rule is true for a good row. Null counts as broken: a rule that cannot be judged has failed.
"""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812

INSTANT = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z\z"
UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\z"
MAX_VALUE_BYTES = 1024 * 1024

# What JSON allows in a text and PostgreSQL's text and jsonb do not: NUL, half a surrogate pair,
# numbers beyond `numeric` (also by their digits). https://www.postgresql.org/docs/18/datatype-json.html
_UNSTORABLE = (
    r"\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
    r"|[:,\[]\s*-?(?:\d[\d.]*[eE][+-]?\d{4}|[\d.]{1001})"
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
    absent = value.isNull()
    return {
        "value_present": F.octet_length(value) > 0,
        "value_not_too_large": absent | (F.octet_length(value) <= MAX_VALUE_BYTES),
        "valid_utf8": absent | F.is_valid_utf8(value),
        "storable_text": absent | ~text.rlike(_UNSTORABLE),
    }


def is_one_value(text: Column) -> Column:
    """One JSON value with nothing behind it; `from_json` alone stops where the first one ends.

    In brackets, what follows the value must be a comma or a bracket; in braces, a comma or a brace.
    """
    brackets = F.json_array_length(F.concat(F.lit("["), text, F.lit("]")))
    braces = F.json_object_keys(F.concat(F.lit('{"":'), text, F.lit("}")))
    return (brackets == 1) & (F.size(braces) == 1)


JSON_OPTIONS = {
    "columnNameOfCorruptRecord": "_corrupt",
    "allowNonNumericNumbers": "false",
    "allowSingleQuotes": "false",
}
"""For `from_json`: what is JSON to Spark must be JSON to PostgreSQL, too."""


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
