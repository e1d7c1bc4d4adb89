"""The table that numbers topics of one name, on the real database."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from conf.settings import Settings
from streaming.sources.generations import meet_topics
from streaming.sources.options import Generation


@pytest.fixture
def dsn(services: Settings) -> Iterator[str]:
    yield services.postgres.dsn
    with psycopg.connect(services.postgres.dsn) as connection:
        connection.execute("DELETE FROM topic_generations WHERE topic LIKE 'met-%%'")


def numbers(dsn: str, **ids: str) -> dict[str, int]:
    """Of each topic; that of `a` is "met-a"."""
    met = meet_topics(dsn, {f"met-{name}": one for name, one in ids.items()})
    return {topic.removeprefix("met-"): found.number for topic, found in met.items()}


def test_the_first_topic_of_a_name_is_generation_zero_and_remains_it(dsn: str) -> None:
    assert numbers(dsn, a="x", b="y") == {"a": 0, "b": 0}
    assert numbers(dsn, a="x", b="y") == {"a": 0, "b": 0}


def test_each_new_id_of_a_name_begins_the_next_generation(dsn: str) -> None:
    met = [numbers(dsn, a=one, b="y") for one in ("x", "z", "z", "x")]
    assert met == [{"a": 0, "b": 0}, {"a": 1, "b": 0}, {"a": 1, "b": 0}, {"a": 2, "b": 0}]


def test_the_id_comes_back_with_the_number(dsn: str) -> None:
    assert meet_topics(dsn, {"met-a": "x"}) == {"met-a": Generation("x", 0)}
    assert meet_topics(dsn, {}) == {}


def test_streams_that_meet_a_topic_at_once_agree(dsn: str) -> None:
    numbers(dsn, a="old")
    with ThreadPoolExecutor(8) as pool:
        met = list(pool.map(lambda _: numbers(dsn, a="new"), range(16)))
    assert met == [{"a": 1}] * 16
