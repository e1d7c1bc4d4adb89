"""Kafka and Pulsar as a deployment runs them: TLS, a user for each program, and its rights."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import Consumer, TopicPartition

from conf.errors import KafkaUnavailableError
from conf.kafka import client_config, connection_config
from conf.settings import KafkaSettings, Principal, PulsarSettings, Settings
from conf.settings.brokers import signed_token
from gateway.kafka import KafkaPublisher
from gateway.producer import OutgoingMessage, Receipt
from gateway.rejections import UnavailableError
from inference_service.publishers.buffered import AwayError, RefusedError
from inference_service.publishers.pulsar import PulsarEventTransport
from infra.errors import ServiceError
from infra.local.kafka import KafkaService
from infra.local.passwords import with_secrets
from infra.local.process import wait_until
from infra.local.provision import ensure_topics
from infra.local.pulsar import (
    RETENTION,
    PulsarService,
    _administration,
    ensure_pulsar_topic,
)
from streaming.sources.kafka import KafkaLog
from streaming.sources.log import Limit
from streaming.sources.options import Subscription
from streaming.sources.pulsar import PulsarConnection, PulsarLog, PulsarUnavailableError
from tests.conftest import free_ports
from tests.support.pulsar_local import start_pulsar

SECONDS = 15.0


def secured(settings: Settings, folder: object) -> Settings:
    """Settings of brokers with TLS, on free ports, in a folder of their own."""
    ports = free_ports(4)
    ca = {"tls_ca_file": folder / "tls" / "ca.pem"}  # type: ignore[operator]
    kafka = {"security": "sasl_ssl", "port": ports[0], "controller_port": ports[1], **ca}
    pulsar = {"security": "token_tls", "port": ports[2], "admin_port": ports[3], **ca}
    update = {
        "var_dir": folder,
        "kafka": settings.kafka.model_copy(update=kafka),
        "pulsar": settings.pulsar.model_copy(update={"enabled": True, **pulsar}),
    }
    return with_secrets(settings.model_copy(update=update))


@pytest.fixture(scope="module")
def own(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return secured(settings, tmp_path_factory.mktemp("brokers"))


@pytest.fixture(scope="module")
def kafka(own: Settings) -> Iterator[KafkaSettings]:
    service = KafkaService(own)
    service.start()
    assert wait_until(service.ready, 60), service.last_lines()
    ensure_topics(own.kafka)
    ensure_topics(own.kafka)
    yield own.kafka
    service.stop()


@pytest.fixture(scope="module")
def pulsar(own: Settings) -> Iterator[PulsarSettings]:
    service = PulsarService(own)
    start_pulsar(service)
    ensure_pulsar_topic(own.pulsar)
    yield own.pulsar
    service.stop()


def publish(kafka: KafkaSettings, topic: str) -> Receipt | Exception:
    """What the gateway makes of one message."""

    async def send() -> Receipt | Exception:
        publisher = KafkaPublisher(kafka, ack_timeout=4)
        try:
            return await publisher.send(OutgoingMessage(topic, b"key", b"value", ()))
        finally:
            await publisher.close()

    return asyncio.run(send())


def as_other(kafka: KafkaSettings, user: Principal, password: str = "") -> KafkaSettings:
    """The cluster with one user for every client."""
    name, known = kafka.credentials(user)
    return KafkaSettings.model_validate(
        kafka.model_dump() | {"secret": None, "username": name, "password": password or known}
    )


def log_of(kafka: KafkaSettings, topic: str) -> KafkaLog:
    client = connection_config(kafka, "streams")
    return KafkaLog(Subscription((topic,)), client, "storelake-test", fetch_timeout=5)


def test_an_order_of_the_gateway_arrives_at_the_streams(kafka: KafkaSettings) -> None:
    sent = publish(kafka, kafka.order_created)
    assert isinstance(sent, Receipt)
    with closing(log_of(kafka, kafka.order_created)) as log:
        highest = {partition: high for partition, (_, high) in log.bounds().items()}
    assert highest[kafka.order_created, sent.partition] == sent.offset + 1


@pytest.mark.parametrize("user", ["cameras", "streams", "reader", "console"])
def test_nobody_else_writes_an_order(kafka: KafkaSettings, user: Principal) -> None:
    sent = publish(as_other(kafka, user), kafka.order_created)
    assert isinstance(sent, UnavailableError)
    assert "authorization" in str(sent).lower()
    assert kafka.bootstrap not in str(sent)


@pytest.mark.parametrize("user", ["gateway", "cameras", "console"])
def test_who_only_writes_or_looks_reads_nothing(kafka: KafkaSettings, user: Principal) -> None:
    own = {"group.id": "storelake-test", "log_level": 0}
    with closing(Consumer(client_config(kafka, user, own))) as consumer:
        consumer.assign([TopicPartition(kafka.order_created, 0, 0)])
        message = consumer.poll(SECONDS)
    assert message is not None
    assert "authorization failed" in str(message.error()).lower()


def test_a_wrong_password_is_named_within_seconds(kafka: KafkaSettings) -> None:
    wrong, started = as_other(kafka, "streams", "not-the-password"), time.monotonic()
    with (
        closing(log_of(wrong, kafka.order_created)) as log,
        pytest.raises(KafkaUnavailableError, match="invalid credentials"),
    ):
        log.bounds()
    with pytest.raises(ServiceError, match="invalid credentials"):
        ensure_topics(wrong)
    sent = publish(wrong, kafka.order_created)
    assert "invalid credentials" in str(sent)
    assert time.monotonic() - started < 3 * SECONDS


def test_plaintext_against_tls_is_refused_and_the_setting_is_named(kafka: KafkaSettings) -> None:
    plain = kafka.model_copy(update={"security": "plaintext"})
    assert isinstance(publish(plain, kafka.order_created), UnavailableError)
    with (
        closing(log_of(plain, kafka.order_created)) as log,
        pytest.raises(KafkaUnavailableError, match="STORELAKE_KAFKA__SECURITY"),
    ):
        log.bounds()


def deliver(pulsar: PulsarSettings) -> str | None:
    """What a camera's publisher reports of one frame."""
    outcome: list[str | None] = []
    transport = PulsarEventTransport(pulsar, 10)
    try:
        transport.send(b"camera", b"frame", outcome.append)
        assert wait_until(lambda: bool(outcome), SECONDS)
        return outcome[0]
    finally:
        transport.close()


def pulsar_log(
    pulsar: PulsarSettings, token: str | None, group: str = "storelake-test"
) -> PulsarLog:
    ca = str(pulsar.tls_ca_file)
    connection = PulsarConnection(pulsar.url, pulsar.admin, token, ca)
    return PulsarLog(Subscription((pulsar.detections,)), connection, group)


def test_a_frame_of_a_camera_arrives_at_the_streams(pulsar: PulsarSettings) -> None:
    assert deliver(pulsar) is None
    with closing(pulsar_log(pulsar, pulsar.token_of("streams"))) as log:
        assert log.behind({}) == 1


@pytest.mark.parametrize("token", ["streams", "forged"])
def test_no_other_token_sends_a_frame(pulsar: PulsarSettings, token: str) -> None:
    text = pulsar.token_of("streams") if token == "streams" else signed_token("admin", b"x" * 64)
    other = PulsarSettings.model_validate(pulsar.model_dump() | {"token": text})
    with pytest.raises(RefusedError):
        deliver(other)


@pytest.mark.parametrize("token", [None, signed_token("admin", b"x" * 64)])
def test_without_a_valid_token_nothing_is_read(pulsar: PulsarSettings, token: str | None) -> None:
    with (
        closing(pulsar_log(pulsar, token)) as log,
        pytest.raises(PulsarUnavailableError, match="token is not valid"),
    ):
        log.bounds()


def test_plaintext_against_the_tls_of_pulsar_sends_nothing(pulsar: PulsarSettings) -> None:
    with pytest.raises(AwayError):
        deliver(pulsar.model_copy(update={"security": "token"}))


def test_a_namespace_keeps_messages_from_its_first_moment(pulsar: PulsarSettings) -> None:
    tenant, namespace, _ = pulsar.detections.removeprefix("persistent://").split("/")
    with _administration(pulsar, SECONDS) as admin:
        kept = admin.get(f"/namespaces/{tenant}/{namespace}/retention").json()
    assert kept == RETENTION


def test_streams_delete_the_subscription_of_a_query_that_theirs_has_replaced(
    pulsar: PulsarSettings,
) -> None:
    token, group = pulsar.token_of("streams"), "storelake-bronze+footfall"
    for one in ("storelake-footfall", group):
        with closing(pulsar_log(pulsar, token, one)) as log:
            log.poll({}, Limit(1, 1))
    name = pulsar.detections.replace("://", "/")
    with _administration(pulsar, SECONDS) as admin:
        held = [
            set(admin.get(f"/{name}-partition-{number}/subscriptions").json())
            for number in range(pulsar.partitions)
        ]
    assert not any("storelake-footfall" in of_one for of_one in held)
    assert any(group in of_one for of_one in held)
