"""Options of Kafka's clients: one definition, and none that weakens a guarantee."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import pytest
from confluent_kafka import KafkaError, Producer, TopicPartition
from pydantic import ValidationError

from conf.errors import KafkaUnavailableError
from conf.kafka import client_config, producer_config
from conf.settings import KafkaSettings, Settings, SettingsError
from gateway.kafka import KafkaPublisher
from inference_service.publishers.kafka import KafkaEventTransport
from infra.local.kafka import KafkaService
from infra.local.provision import ensure_topics
from simulator.transport import KafkaTransport
from streaming.sinks.kafka_producer import DlqProducer, produce
from streaming.sinks.redrive import Redriver
from streaming.sources.kafka import KafkaLog
from streaming.sources.log import DataLossError, Limit, Range
from streaming.sources.options import Subscription
from tests.conftest import free_ports


def open_kafka(**given: Any) -> KafkaSettings:
    """A cluster without access control."""
    return KafkaSettings(security="plaintext", **given)


@pytest.mark.parametrize(
    "name", ["acks", "request.required.acks", "enable.idempotence", "Acks", "bootstrap.servers"]
)
def test_an_option_that_would_weaken_a_producer_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="cannot be set here"):
        KafkaSettings(client_options={name: "0"})


def test_every_producer_waits_for_all_replicas_and_closes_a_silent_connection() -> None:
    kafka = open_kafka(client_options={"linger.ms": "50"})
    made = producer_config(kafka, "operator", {"client.id": "till"})
    assert (made["acks"], made["enable.idempotence"]) == ("all", True)
    assert (made["linger.ms"], made["client.id"]) == ("50", "till")
    assert int(made["socket.timeout.ms"]) <= 30_000
    Producer(made)  # librdkafka accepts each of them


@pytest.mark.parametrize("name", ["gateway", "quarantine", "redrive", "simulator", "cameras"])
def test_an_option_that_does_not_exist_is_named(name: str) -> None:
    kafka = open_kafka(client_options={"linger.millis": "5"})
    with pytest.raises(SettingsError, match=r"linger\.millis.*STORELAKE_KAFKA__CLIENT_OPTIONS"):
        PRODUCERS[name][1](kafka)


def test_a_broker_with_wrong_options_states_them_and_gets_no_topics(settings: Settings) -> None:
    kafka = settings.kafka.model_copy(
        update={"client_options": {"linger.millis": "5"}, "security": "plaintext"}
    )
    service = KafkaService(settings.model_copy(update={"kafka": kafka}))
    assert "linger.millis" in service.complaint()
    with pytest.raises(SettingsError, match=r"linger\.millis"):
        ensure_topics(kafka)


WEAKENED = {"acks": "0", "enable.idempotence": "false", "delivery.timeout.ms": "7"}
PRODUCERS: dict[str, tuple[str, Callable[[KafkaSettings], object], int]] = {
    "gateway": ("gateway.kafka", lambda k: KafkaPublisher(k, ack_timeout=2), 2_000),
    "quarantine": ("streaming.sinks.kafka_producer", DlqProducer, 30_000),
    "redrive": ("streaming.sinks.redrive", Redriver, 30_000),
    "simulator": ("simulator.transport", lambda k: KafkaTransport(k, patience=9), 9_000),
    "cameras": ("inference_service.publishers.kafka", KafkaEventTransport, 0),
}


class Recorded:
    """A producer that records its configuration."""

    configs: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, config: dict[str, Any], **_: object) -> None:
        self.configs.append(config)

    def poll(self, _: float) -> int:
        time.sleep(0.1)
        return 0

    def list_topics(self, timeout: float) -> None:
        """The cluster answers."""


@pytest.mark.parametrize(("module", "create", "timeout"), PRODUCERS.values(), ids=PRODUCERS)
def test_no_client_option_weakens_a_producer_and_a_warning_names_each_one(
    module: str,
    create: Callable[[KafkaSettings], object],
    timeout: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(f"{module}.Producer", Recorded)
    options = {"linger.ms": "50", **WEAKENED}
    create(open_kafka().model_copy(update={"client_options": options}))  # no validation
    made = Recorded.configs[-1]
    assert (made["acks"], made["enable.idempotence"]) == ("all", True)
    assert made["message.timeout.ms"] == timeout
    assert "delivery.timeout.ms" not in made
    assert made["linger.ms"] == "50"
    assert all(f"{name} is ignored" in caplog.text for name in WEAKENED)
    Producer(made)  # librdkafka accepts each of them


def test_a_client_option_comes_before_a_default() -> None:
    kafka = open_kafka(client_options={"socket.timeout.ms": "5000"})
    assert client_config(kafka, "reader")["socket.timeout.ms"] == "5000"


def away() -> KafkaSettings:
    (port,) = free_ports(1)
    return open_kafka(port=port, client_options={"log_level": "0"})


def test_a_full_queue_of_a_producer_is_waited_for_and_then_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.sinks.kafka_producer.QUEUE_SECONDS", 0.2)
    producer = Producer(producer_config(away(), "operator", {"queue.buffering.max.messages": 1}))
    produce(producer, "t", b"1")
    with pytest.raises(BufferError, match="no room"):
        produce(producer, "t", b"2")
    producer.purge()


def test_a_rejected_message_that_finds_no_room_is_an_error_of_the_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streaming.sinks.kafka_producer.QUEUE_SECONDS", 0.2)
    producer = DlqProducer(away(), queue_kbytes=1)
    with pytest.raises(KafkaUnavailableError, match=r"order-dlq: \d of \d not stored"):
        producer.send([(None, b"x" * 900, []), (None, b"x" * 900, [])])


def test_an_unreachable_broker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.sources.kafka_topics.CALL_SECONDS", 0.5)
    kafka = away()
    log = KafkaLog(
        Subscription(("t",)), {"bootstrap.servers": kafka.bootstrap, "log_level": "0"}, "g"
    )
    with pytest.raises(KafkaUnavailableError, match=kafka.bootstrap):
        log.bounds()
    log.close()


# Errors on the way


@dataclass
class Event:
    """An error as librdkafka delivers it among messages."""

    code: int
    number: int = 0
    at: int = -1001

    def error(self) -> KafkaError:
        return KafkaError(self.code)

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.at


class Failing:
    """A consumer that has nothing but one error, again and again."""

    def __init__(self, code: int) -> None:
        self._event = Event(code)
        self.assigned: list[int] = []

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned += [one.offset for one in partitions]

    def consume(self, count: int, timeout: float) -> list[Any]:
        return [self._event]


def log_over(consumer: Failing) -> KafkaLog:
    log = KafkaLog(Subscription(("orders",)), {"bootstrap.servers": "b:1"}, "g", fetch_timeout=0.3)
    log._consumer = cast("Any", consumer)
    log._known, log._known_at = [("orders", 0)], time.monotonic()
    return log


@pytest.mark.timeout(30)
def test_errors_of_a_connection_do_not_keep_a_task_from_giving_up() -> None:
    away = Failing(KafkaError._TRANSPORT)
    with pytest.raises(KafkaUnavailableError, match=r"orders\[0\].*Kafka at b:1 has sent nothing"):
        list(log_over(away)._read_range(cast("Any", away), Range("orders", 0, 5, 9)))


def test_a_position_is_read_from_again_after_an_error_and_not_after_a_lost_connection() -> None:
    position = {("orders", 0): 5}
    away = Failing(KafkaError._ALL_BROKERS_DOWN)
    log = log_over(away)
    for _ in range(3):
        assert log.poll(position, Limit(10, 10)) == (None, position)
    assert away.assigned == [5]

    lost = Failing(KafkaError.OFFSET_OUT_OF_RANGE)
    log = log_over(lost)
    for _ in range(2):
        with pytest.raises(DataLossError):
            log.poll(position, Limit(10, 10))
    assert lost.assigned == [5, 5]


class Deaf(Failing):
    """A consumer that gets nothing of partition 0, and that partition 1 ends at 7."""

    def __init__(self) -> None:
        super().__init__(KafkaError._PARTITION_EOF)
        self._event.number, self._event.at = 1, 7


def test_a_consumer_that_gets_nothing_while_messages_wait_is_assigned_again_and_then_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ends = {("orders", 0): (0, 5), ("orders", 1): (0, 7)}
    deaf, position = Deaf(), {("orders", 0): 5, ("orders", 1): 7}
    log = log_over(deaf)
    log._known = [*ends]
    monkeypatch.setattr(log, "bounds", lambda: ends)
    clock = time.monotonic()
    monkeypatch.setattr("streaming.sources.kafka.time.monotonic", lambda: clock)

    def poll(times: int) -> None:
        nonlocal clock
        for _ in range(times):
            clock += 0.4  # more than the fetch time-out
            assert log.poll(position, Limit(10, 10)) == (None, position)

    poll(5)
    ends["orders", 0] = (0, 6)
    poll(1)
    assert deaf.assigned == [5, 7]
    poll(1)
    assert "orders[0]: Kafka at b:1 has sent nothing for 0 s" in caplog.text
    with pytest.raises(KafkaUnavailableError, match=r"^orders\[0\]: Kafka at b:1 has sent nothing"):
        poll(1)
    assert deaf.assigned == [5, 7] * 2
