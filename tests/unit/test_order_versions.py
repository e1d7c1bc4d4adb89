"""The versions of an order sort by time, and at one time by meaning."""

from __future__ import annotations

from datetime import datetime, timezone

import pyarrow as pa
import pytest

from streaming.transforms.order_event_processor import order_version

pytestmark = pytest.mark.requirement("O11")

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
BY_MEANING = [
    ("order.created", "order-created"),
    ("order.updated", "order-updated"),
    ("order.status_changed", "order-events"),
    ("order.cancelled", "order-cancelled"),
]


def versions(types: list[str | None], topics: list[str], at: datetime = TEN) -> list[str]:
    rows = pa.table(
        {
            "topic": topics,
            "partition": pa.array([0] * len(topics), pa.int32()),
            "position": [f"{7:020d}"] * len(topics),
        }
    )
    times = pa.array([at] * len(topics), pa.timestamp("us", "UTC"))
    found: list[str] = order_version(pa.array(types, pa.string()), times, rows).to_pylist()
    return found


def test_events_of_one_instant_are_ordered_by_meaning_whatever_their_topics() -> None:
    types, topics = map(list, zip(*BY_MEANING, strict=True))
    for placed in (topics, topics[::-1], ["order-events"] * 4):
        found = versions(types, placed)
        assert found == sorted(found)
        assert len(set(found)) == 4


def test_a_version_without_a_rank_remains_comparable() -> None:
    types, topics = map(list, zip(*BY_MEANING, strict=True))
    former = [f"2024-05-01T10:00:00.000000|{topic}|00000|{7:020d}" for topic in topics]
    found = versions(types, topics)
    assert found[0] == former[0]
    assert all(new >= old for new, old in zip(found, former, strict=True))
    assert max(former) < min(versions(types, topics, TEN.replace(second=1)))


def test_an_event_of_an_unknown_type_has_a_version() -> None:
    assert versions([None], ["order-events"]) == versions(["order.created"], ["order-events"])
