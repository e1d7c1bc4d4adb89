"""Judging messages inside a stream: cheap, inline, by rules whose ids quarantine shows.

A rule is true for a good row. Null counts as broken: a rule that cannot be judged has failed.

The rules on bytes and JSON are Columns, here: what they judge is gone when a message is a row of
silver. Bronze still has the message, quarantine has it with the ids. The rules on the content are
data (`checks`), since the silver tables are judged by them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from streaming.checks import UUID, AnyRule, Matches, MessageRule, Rule

MAX_VALUE_BYTES = 1024 * 1024

# What JSON allows in a text and PostgreSQL's text and jsonb do not: NUL, half a surrogate pair,
# numbers beyond `numeric` (also by their digits). https://www.postgresql.org/docs/18/datatype-json.html
_UNSTORABLE_ESCAPE = (
    r"\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
_UNSTORABLE_NUMBER = r"[:,\[]\s*+-?(?:\d[\d.]*+[eE][+-]?\d{4}|[\d.]{1001})"

ENVELOPE_MEANINGS = {
    "value_present": "The message is empty.",
    "value_not_too_large": "The message is larger than 1 MiB.",
    "valid_utf8": "The bytes are no UTF-8 text.",
    "storable_text": "The text holds something that the database cannot store: a NUL character, "
    "half of a surrogate pair, or a number beyond all bounds.",
    "json_object": "The text is not one whole JSON object.",
}
"""What a failed rule on the bytes says about a message."""


def failed(rules: Mapping[str, Column]) -> Column:
    """array<string>: the ids of the rules that a row fails; empty for a good row."""
    broken = F.array(
        *(F.when(~F.coalesce(rule, F.lit(False)), F.lit(name)) for name, rule in rules.items())
    )
    # Not array_compact: a higher-order function interprets its argument, here every rule; compiled
    # they take a third of the time.
    return F.array_except(broken, F.array(F.lit(None).cast("string")))


def envelope_rules(value: Column, text: Column) -> dict[str, Column]:
    """Rules on the bytes of a message, before anything is parsed."""
    absent = value.isNull()
    escaped = F.contains(text, F.lit(r"\u"))  # a fast look before the slow one
    return {
        "value_present": F.octet_length(value) > 0,
        "value_not_too_large": absent | (F.octet_length(value) <= MAX_VALUE_BYTES),
        "valid_utf8": absent | F.is_valid_utf8(value),
        "storable_text": absent
        | ~((escaped & text.rlike(_UNSTORABLE_ESCAPE)) | text.rlike(_UNSTORABLE_NUMBER)),
    }


def has_json_types(text: Column, numbers: Sequence[str], texts: Sequence[str]) -> Column:
    """No field of these names holds the wrong JSON scalar: Spark reads "12.50" and 7 as either.

    Args:
        text: JSON.
        numbers: names of the fields that are no text.
        texts: names of the fields that are.
    """
    # The look ahead is cheap and seldom true, the many names are not.
    quoted = rf'(?=\w++"\s*+:\s*+")(?:{"|".join(numbers)})"'
    bare = rf'(?=\w++"\s*+:\s*+[^"\s])(?:{"|".join(texts)})"'
    return ~text.rlike(f'"(?:{quoted}|{bare})')


def event_rules(
    numbers: Sequence[str], texts: Sequence[str], versions: Sequence[int], version_says: str
) -> tuple[AnyRule, ...]:
    """What every event of a contract must be like, before its own rules.

    Args:
        numbers: names of the fields that are no text.
        texts: names of the fields that are.
        versions: the known ones.
        version_says: what is wrong with another version, for people.
    """
    return (
        MessageRule(
            "types_match",
            "A field has the wrong JSON type, such as a number in quotes.",
            "JSON types are gone: columns have one type.",
            lambda m: (
                m.fields["_corrupt"].isNull() & has_json_types(m.fields["_text"], numbers, texts)
            ),
        ),
        MessageRule(
            "schema_version_known",
            version_says,
            "A table has one schema, whatever the version of the message.",
            lambda m: m.fields["schema_version"].isin(*versions),
        ),
        Rule("event_id_uuid", "event_id is no UUID.", (Matches("event_id", UUID),)),
    )


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


def judge(
    rows: DataFrame, ddl: str, evidence: str, content: Callable[[Column], dict[str, Column]]
) -> DataFrame:
    """Source rows -> the same rows with `event` (parsed) and `rules` (array of failed rule ids).

    Args:
        rows: source rows.
        ddl: what to parse `value` into, with a `_corrupt` column.
        evidence: a field of `event` that is there when a partly unreadable message was JSON at all.
        content: the text of the message -> the rules on `event`.
    """
    text = F.col("value").cast("string")
    # A step of its own: what is computed here is not computed again where it is used twice below.
    parsed = rows.withColumns(
        {
            "event": F.from_json(text, ddl, JSON_OPTIONS),
            "envelope": failed(envelope_rules(F.col("value"), text)),
        }
    )
    has_fields = F.col("event._corrupt").isNull() | F.col(f"event.{evidence}").isNotNull()
    readable = F.coalesce(
        F.col("event").isNotNull() & has_fields & is_one_value(text), F.lit(False)
    )
    # One cause at a time: bytes, then JSON, then the content.
    return parsed.withColumn(
        "rules",
        F.when(F.size("envelope") > 0, F.col("envelope"))
        .when(~readable, F.array(F.lit("json_object")))
        .otherwise(failed(content(text))),
    ).drop("envelope")
