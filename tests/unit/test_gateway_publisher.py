"""The behaviour suite of every publisher, on the one in memory; Kafka's run is in integration/."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from conf.settings import KafkaSettings
from gateway.kafka import KafkaPublisher
from gateway.producer import MemoryPublisher, publish
from gateway.rejections import UnavailableError
from tests.support.publisher_suite import PublisherSuite, Stage, message


class TestMemoryPublisher(PublisherSuite):
    @pytest.fixture
    def stage(self) -> Iterator[Stage]:
        publisher = MemoryPublisher(ack_timeout=0.05)

        async def read(topic: str) -> list[tuple[bytes, bytes, dict[str, bytes]]]:
            return [(m.key, m.value, dict(m.headers)) for m in publisher.messages[topic]]

        def cut() -> None:
            publisher.stalled = publisher.down = True

        yield Stage(publisher, "order-created", read, cut)
        asyncio.run(publisher.close())


class Doomed:
    """A librdkafka producer with a fatal error: it rejects every message from then on."""

    made = 0

    def __init__(self, config: object, logger: object) -> None:
        Doomed.made += 1

    def produce(self, *_: object, **__: object) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))

    def poll(self, timeout: float) -> int:
        time.sleep(timeout)  # as the real one waits
        return 0

    def flush(self, timeout: float) -> int:
        return 0


def test_a_producer_with_a_fatal_error_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.kafka.Producer", Doomed)
    publisher = KafkaPublisher(KafkaSettings(security="plaintext"), ack_timeout=0.1)

    async def scenario() -> None:
        with pytest.raises(UnavailableError, match="_FATAL"):
            await publish(publisher, message("order-created"))
        await publisher.close()

    asyncio.run(scenario())
    assert Doomed.made == 2
