"""Options of Kafka's clients: one definition, and what promises rest on is not for sale."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer
from pydantic import ValidationError

from conf.kafka import client_config, producer_config
from conf.settings import KafkaSettings
from streaming.connectors.kafka import KafkaLog, KafkaUnavailableError
from streaming.connectors.kafka_producer import DeadLetterProducer, produce
from streaming.connectors.log_source import Subscription
from tests.conftest import free_ports


@pytest.mark.parametrize(
    "name", ["acks", "request.required.acks", "enable.idempotence", "Acks", "bootstrap.servers"]
)
def test_an_option_that_would_weaken_a_producer_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="cannot be set here"):
        KafkaSettings(client_options={name: "0"})


def test_every_producer_waits_for_all_replicas_and_closes_a_silent_connection() -> None:
    made = producer_config(KafkaSettings(client_options={"linger.ms": "50"}), {"client.id": "till"})
    assert (made["acks"], made["enable.idempotence"]) == ("all", True)
    assert (made["linger.ms"], made["client.id"]) == ("50", "till")
    assert int(made["socket.timeout.ms"]) <= 30_000
    Producer(made)  # librdkafka knows each of them


def test_a_client_option_comes_before_a_default() -> None:
    kafka = KafkaSettings(client_options={"socket.timeout.ms": "5000"})
    assert client_config(kafka)["socket.timeout.ms"] == "5000"


def away() -> KafkaSettings:
    (port,) = free_ports(1)
    return KafkaSettings(port=port, client_options={"log_level": "0"})


def test_a_full_queue_of_a_producer_is_waited_for_and_then_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.connectors.kafka_producer.QUEUE_SECONDS", 0.2)
    producer = Producer(producer_config(away(), {"queue.buffering.max.messages": 1}))
    produce(producer, "t", b"1")
    with pytest.raises(BufferError, match="no room"):
        produce(producer, "t", b"2")
    producer.purge()


def test_a_dead_letter_that_finds_no_room_is_an_error_of_the_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.connectors.kafka_producer.QUEUE_SECONDS", 0.2)
    producer = DeadLetterProducer(away(), queue_kbytes=1)
    with pytest.raises(KafkaUnavailableError, match=r"order-dlq: \d of \d not stored"):
        producer.send([(None, b"x" * 900, []), (None, b"x" * 900, [])])


def test_a_broker_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.connectors.kafka.CALL_SECONDS", 0.5)
    kafka = away()
    log = KafkaLog(
        Subscription(("t",)), {"bootstrap.servers": kafka.bootstrap, "log_level": "0"}, "g"
    )
    with pytest.raises(KafkaUnavailableError, match=kafka.bootstrap):
        log.bounds()
    log.close()
