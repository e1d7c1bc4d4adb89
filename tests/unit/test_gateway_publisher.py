"""The behaviour suite of every publisher, on the one in memory; Kafka's run is in integration/."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

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


def test_a_producer_that_cannot_be_replaced_now_hangs_no_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where the file of the certificates is away for a moment."""

    def missing(*_: object, **__: object) -> Doomed:
        if Doomed.made:
            raise KafkaException(KafkaError(KafkaError._INVALID_ARG, "no such certificate"))
        return Doomed({}, None)

    def fatal(_: object, timeout: float) -> int:
        raise KafkaException(KafkaError(KafkaError._FATAL, "fenced", fatal=True))

    monkeypatch.setattr(Doomed, "made", 0)
    monkeypatch.setattr(Doomed, "poll", fatal)
    monkeypatch.setattr(Doomed, "produce", lambda *_, **__: None)
    monkeypatch.setattr("gateway.kafka.Producer", missing)
    publisher = KafkaPublisher(KafkaSettings(security="plaintext"), ack_timeout=0.1)

    async def scenario() -> None:
        with pytest.raises(UnavailableError, match="fenced"):
            await asyncio.wait_for(publish(publisher, message("order-created")), 10)
        await publisher.close()

    asyncio.run(scenario())


class Moody:
    """A librdkafka producer that reports `errors` to its client, and `outcome` of each message."""

    errors: ClassVar[list[KafkaError]] = []
    outcome: ClassVar[KafkaError | None] = None

    def __init__(self, config: dict[str, Any], logger: object) -> None:
        self._error_cb = config["error_cb"]

    def produce(self, *_: object, on_delivery: Callable[..., None], **__: object) -> None:
        for error in Moody.errors:
            self._error_cb(error)
        sent = SimpleNamespace(topic=lambda: "t", partition=lambda: 0, offset=lambda: 7)
        on_delivery(Moody.outcome, sent)

    poll, flush = Doomed.poll, Doomed.flush


def test_a_refusal_is_named_until_the_cluster_accepts_again_and_an_outage_names_no_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.kafka.Producer", Moody)
    publisher = KafkaPublisher(KafkaSettings(security="plaintext"), ack_timeout=5)
    place = "sasl_ssl://kafka.shop.example:9092/bootstrap: "
    wrong = KafkaError(KafkaError._AUTHENTICATION, f"{place}invalid credentials")
    closed = KafkaError(KafkaError._TRANSPORT, f"{place}Connect to ipv4#10.0.0.7:9092 failed")

    async def refused_for(*errors: KafkaError) -> str:
        Moody.errors, Moody.outcome = [*errors], KafkaError(KafkaError._MSG_TIMED_OUT)
        with pytest.raises(UnavailableError) as refused:
            await publish(publisher, message("t"))
        return str(refused.value)

    async def scenario() -> None:
        assert await refused_for(wrong) == "invalid credentials"
        assert await refused_for() == "invalid credentials"
        assert await refused_for(closed) == "the broker reports _MSG_TIMED_OUT"
        assert await refused_for(wrong) == "invalid credentials"
        Moody.errors, Moody.outcome = [], None
        assert (await publish(publisher, message("t"))).offset == 7
        assert await refused_for() == "the broker reports _MSG_TIMED_OUT"
        await publisher.close()

    asyncio.run(scenario())
