"""Tests for every `gateway.producer.Publisher`. A subclass supplies the fixture `stage`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from gateway.producer import OutgoingMessage, Publisher, publish
from gateway.rejections import TooLargeError, UnavailableError

Seen = tuple[bytes, bytes, dict[str, bytes]]


@dataclass
class Stage:
    """A publisher, an empty topic, a way to read it back, and a way to cut off the broker."""

    publisher: Publisher
    topic: str
    read: Callable[[str], Awaitable[list[Seen]]]
    cut: Callable[[], None]


def message(topic: str, key: str = "O-1", value: bytes = b'{"a": 1}') -> OutgoingMessage:
    return OutgoingMessage(topic, key.encode(), value, (("traceparent", b"00-aa"),))


class PublisherSuite:
    """Collected through its subclasses only."""

    def test_what_is_published_is_there_byte_for_byte(self, stage: Stage) -> None:
        sent = [message(stage.topic, value=b'{ "a":\t%d }' % n) for n in range(20)]

        async def scenario() -> list[Seen]:
            for one in sent:
                await publish(stage.publisher, one)
            return await stage.read(stage.topic)

        assert asyncio.run(scenario()) == [
            (b"O-1", one.value, {"traceparent": b"00-aa"}) for one in sent
        ]

    def test_receipts_of_one_key_rise(self, stage: Stage) -> None:
        async def scenario() -> list[tuple[str, int, int]]:
            got = [await publish(stage.publisher, message(stage.topic)) for _ in range(5)]
            return [(r.topic, r.partition, r.offset) for r in got]

        receipts = asyncio.run(scenario())
        first = receipts[0]
        assert receipts == [(first[0], first[1], first[2] + n) for n in range(5)]

    def test_many_at_once_are_all_acknowledged(self, stage: Stage) -> None:
        async def scenario() -> int:
            many = (publish(stage.publisher, message(stage.topic, f"O-{n}")) for n in range(200))
            receipts = await asyncio.gather(*many)
            return len({(r.partition, r.offset) for r in receipts})

        assert asyncio.run(scenario()) == 200

    def test_a_reachable_broker_shows_itself_and_its_topics(self, stage: Stage) -> None:
        view = asyncio.run(stage.publisher.look())

        assert view.partitions[stage.topic] == 1
        assert len(view.brokers) == 1

    def test_a_message_that_is_too_large_has_an_error_of_its_own(self, stage: Stage) -> None:
        with pytest.raises(TooLargeError):
            asyncio.run(publish(stage.publisher, message(stage.topic, value=b"x" * 2_000_000)))

    def test_without_a_broker_nothing_is_acknowledged(self, stage: Stage) -> None:
        stage.cut()
        with pytest.raises(UnavailableError):
            asyncio.run(publish(stage.publisher, message(stage.topic)))
        with pytest.raises(UnavailableError):
            asyncio.run(stage.publisher.look())

    def test_a_closed_publisher_takes_nothing_and_closes_twice(self, stage: Stage) -> None:
        async def scenario() -> None:
            await stage.publisher.close()
            await stage.publisher.close()
            await publish(stage.publisher, message(stage.topic))

        with pytest.raises(UnavailableError):
            asyncio.run(scenario())
