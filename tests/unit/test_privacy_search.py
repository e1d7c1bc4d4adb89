"""The search for a customer looks at every value that may spell the id in another way (S2)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, Message

from streaming.privacy import topics
from streaming.privacy.person import Person
from streaming.privacy.serving import _has
from streaming.privacy.tables import matching_rows

pytestmark = pytest.mark.requirement("S2")


@pytest.mark.parametrize(
    ("mine", "sent"), [('A"12', '"A\\"12"'), ("A\\12", '"A\\\\12"'), ("A/12", '"A\\/12"')]
)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()])
def test_an_id_that_json_escapes_is_found_in_the_lake(
    mine: str, sent: str, kind: pa.DataType
) -> None:
    words = [f'{{"order":{{"customer_id":{one}}}}}' for one in ('"A12"', sent, '"A\\n12"')]
    column = pa.array(words).cast(kind)
    assert matching_rows(pa.table({"value": column}), Person(mine)) == [1]


@pytest.mark.parametrize(
    ("kind", "escape"), [("bytea", "escape"), ("jsonb", "u"), ("json", "u"), ("text", "u")]
)
def test_any_escape_makes_a_value_of_postgres_a_candidate(kind: str, escape: str) -> None:
    assert f"%({escape})s" in _has("payload", kind).as_string()


def test_a_time_that_cannot_be_one_does_not_end_the_search_of_kafka() -> None:
    noon = 1_714_564_800_000
    rows = [
        topics._row(Message("order-created", 0, at, timestamp=(TIMESTAMP_CREATE_TIME, millis)))
        for at, millis in enumerate([noon, 2**63 - 1])
    ]
    assert [row["offset"] for row in rows] == [0, 1]
    week = timedelta(days=7)
    assert topics._until(rows[:1], week) == datetime(2024, 5, 8, 12, tzinfo=timezone.utc)
    assert topics._until(rows, week) is None  # Kafka keeps it by that time
