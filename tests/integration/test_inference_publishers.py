"""Publishers of detection events on real brokers: their contract, and an outage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from conf.settings import KafkaSettings, PulsarSettings, Settings
from inference_service.publishers import PublishError
from inference_service.publishers.buffered import BufferedPublisher, EventTransport
from inference_service.publishers.kafka import KafkaEventTransport
from inference_service.publishers.pulsar import PulsarEventTransport
from inference_service.publishers.spool import Spool
from infra.local.kafka import KafkaService
from infra.local.process import wait_until
from infra.local.provision import ensure_topics
from infra.local.pulsar import PulsarService
from streaming.sources.log import Limit
from streaming.sources.options import Subscription
from streaming.sources.pulsar import PulsarConnection, PulsarLog
from tests.conftest import free_ports
from tests.support.event_publisher_suite import CAMERAS, EventPublisherSuite, Stage
from tests.support.pulsar_local import start_pulsar

pytestmark = pytest.mark.requirement("V4")

Arrived = list[tuple[bytes | None, bytes]]


def from_kafka(kafka: KafkaSettings) -> Callable[[int], Arrived]:
    """Reads what is new on the detections topic, from now on."""
    reader = Consumer(
        {
            **kafka.client_options,
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"test-{uuid4()}",
            "enable.auto.commit": False,
        }
    )
    topic = kafka.detections
    ends: dict[int, int] = {}

    def known() -> bool:
        try:  # a topic of a moment ago may have no leader yet
            for number in reader.list_topics(topic, timeout=10).topics[topic].partitions:
                ends[number] = reader.get_watermark_offsets(TopicPartition(topic, number))[1]
        except KafkaException:
            return False
        return bool(ends)

    assert wait_until(known, 30)
    reader.assign([TopicPartition(topic, p, end) for p, end in ends.items()])

    def arrived(count: int) -> Arrived:
        found: Arrived = []
        while len(found) < count:
            message = reader.poll(20)
            assert message is not None, f"only {len(found)} of {count} messages came"
            assert message.error() is None, message.error()
            found.append((message.key(), message.value() or b""))
        return found

    return arrived


def from_pulsar(conf: PulsarSettings) -> Callable[[int], Arrived]:
    """The same of Pulsar."""
    topic = Subscription((conf.detections,))
    log = PulsarLog(topic, PulsarConnection(conf.url, conf.admin), f"test-{uuid4()}")
    at = {partition: high for partition, (_, high) in log.bounds().items()}

    def arrived(count: int) -> Arrived:
        found: Arrived = []

        def all_there() -> bool:
            nonlocal at
            rows, at = log.poll(at, Limit(10_000, 2**30))
            found.extend((r["key"], r["value"]) for r in (rows.to_pylist() if rows else ()))
            return len(found) >= count

        assert wait_until(all_there, 30), f"only {len(found)} of {count} messages came"
        log.close()
        return found

    return arrived


class TestKafka(EventPublisherSuite):
    @pytest.fixture
    def stage(self, services: Settings, tmp_path: Path) -> Iterator[Stage]:
        arrived = from_kafka(services.kafka)
        publisher = BufferedPublisher(
            KafkaEventTransport(services.kafka), Spool(tmp_path, "s", 100_000)
        )
        yield Stage(publisher, arrived)
        publisher.close()


class TestPulsar(EventPublisherSuite):
    @pytest.fixture
    def stage(self, pulsar_service: PulsarService, tmp_path: Path) -> Iterator[Stage]:
        conf = pulsar_service.conf
        arrived = from_pulsar(conf)
        publisher = BufferedPublisher(
            PulsarEventTransport(conf, 2_000), Spool(tmp_path, "s", 100_000)
        )
        yield Stage(publisher, arrived)
        publisher.close()

    def test_a_topic_that_is_not_there_is_reported_at_once(
        self, pulsar_service: PulsarService, tmp_path: Path
    ) -> None:
        conf = pulsar_service.conf
        wrong = conf.model_copy(update={"detections": f"{conf.detections}-misspelt"})
        publisher = BufferedPublisher(PulsarEventTransport(wrong, 10), Spool(tmp_path, "s", 10))
        publisher.publish(b"k", b"{}")
        with pytest.raises(PublishError, match=r"refused events.*TopicNotFound.*1 wait in"):
            publisher.close()


def through_an_outage(
    open_transport: Callable[[], EventTransport],
    spool: Path,
    stop: Callable[[], object],
    start: Callable[[], object],
) -> list[tuple[bytes, bytes]]:
    """Publish before, during and after an outage that a restart of the process falls into.

    Returns:
        What was published, in order.
    """
    sent = [(CAMERAS[n % 3], b"%d" % n) for n in range(1_500)]

    def opened(close_seconds: float) -> BufferedPublisher:
        disk = Spool(spool, "s", 100_000)
        return BufferedPublisher(
            open_transport(), disk, buffer_events=50, close_seconds=close_seconds
        )

    first = opened(0.5)
    for key, value in sent[:300]:
        first.publish(key, value)
    assert wait_until(lambda: first.delivered == 300, 30)
    stop()
    for key, value in sent[300:900]:
        first.publish(key, value)
    assert first.counts.on_disk == 550
    with pytest.raises(PublishError, match=r"600 wait in .* sent at the next start"):
        first.close()
    second = opened(60)
    for key, value in sent[900:1_200]:
        second.publish(key, value)
    start()
    for key, value in sent[1_200:]:
        second.publish(key, value)
    second.close()
    assert second.delivered == 1_200
    assert second.counts.on_disk == 0
    return sent


def in_order_without_loss(sent: list[tuple[bytes, bytes]], came: Arrived) -> None:
    """Every event is there, those of a camera in order; some may have come twice in a row."""
    for camera in CAMERAS:
        values = list(dict.fromkeys(v for k, v in came if k == camera))
        assert values == [v for k, v in sent if k == camera]


def test_a_kafka_outage_delays_events_and_loses_none(settings: Settings, tmp_path: Path) -> None:
    port, controller = free_ports(2)
    kafka = settings.kafka.model_copy(update={"port": port, "controller_port": controller})
    service = KafkaService(settings.model_copy(update={"var_dir": tmp_path, "kafka": kafka}))

    def start() -> None:
        service.start()
        assert wait_until(service.ready, 120), service.last_lines()

    start()
    try:
        ensure_topics(kafka)
        arrived = from_kafka(kafka)
        sent = through_an_outage(
            lambda: KafkaEventTransport(kafka), tmp_path / "spool", service.stop, start
        )
        in_order_without_loss(sent, arrived(len(sent)))
    finally:
        service.stop()


def test_a_pulsar_outage_delays_events_and_loses_none(
    pulsar_service: PulsarService, tmp_path: Path
) -> None:
    conf = pulsar_service.conf
    arrived = from_pulsar(conf)
    sent = through_an_outage(
        lambda: PulsarEventTransport(conf, 50),
        tmp_path / "spool",
        pulsar_service.stop,
        lambda: start_pulsar(pulsar_service),
    )
    in_order_without_loss(sent, arrived(len(sent)))
