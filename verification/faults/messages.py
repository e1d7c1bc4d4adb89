"""A topic that vanishes, and messages that no producer should send: one of each kind."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from infra.local.process import wait_until
from verification.faults.deployment import Deployment, now
from verification.faults.fault import Fired, NotFiredError, Trial, require
from verification.faults.walkers import KEY

log = logging.getLogger("storelake.faults")

ADMIN_SECONDS = 20.0
WITHOUT_TOPIC_SECONDS = 90.0
CAMERAS = ("footfall", "bronze_detections", "silver_detections")
FAR_FUTURE = 253_402_300_800_000 + 10**12  # milliseconds: after the year 9999
MICROSECONDS = 1_764_000_000_000_000  # what a producer sends that takes them for milliseconds


def delete_dead_letter_topic(trial: Trial) -> Fired:
    """Delete `order-dlq` while poison comes in: orders stop, and cameras go on."""
    deployment = trial.deployment
    driver, topic = require(deployment.program("streams"), "the driver"), _dead_letters(deployment)
    admin = AdminClient({"bootstrap.servers": deployment.settings.kafka.bootstrap}, logger=log)
    for done in admin.delete_topics([topic], operation_timeout=ADMIN_SECONDS).values():
        done.result(ADMIN_SECONDS)
    if not wait_until(lambda: topic not in admin.list_topics(timeout=5).topics, ADMIN_SECONDS):
        raise NotFiredError(f"topic {topic} is still there")

    def over() -> bool:
        states = deployment.states()
        trial.tell(
            f"{topic} is deleted; order_event_processor is "
            f"{states.get('order_event_processor') or 'somewhere'}"
        )
        return states.get("order_event_processor") == "failed" or not driver.is_running()

    wait_until(over, WITHOUT_TOPIC_SECONDS, every=1.0)
    failed_at = now()
    cameras = wait_until(lambda: deployment.all_committed(failed_at, ("footfall",)), 20.0)
    broken = [] if driver.is_running() else ["the application ended"]
    broken += [] if cameras else ["footfall commits nothing any more"]
    states = deployment.states()
    broken += [f"{name} is {states[name]}" for name in CAMERAS if states.get(name, "") in BAD]
    evidence = f"{topic} deleted; orders {states.get('order_event_processor') or 'without a state'}"
    deployment.storelake("up", "--services-only")  # makes the topic again
    if states.get("order_event_processor") == "failed":
        deployment.storelake("stop", "streams")
        deployment.storelake("start", "streams")
    return Fired(evidence, now(), tuple(broken))


BAD = ("failed", "stalled", "retrying")


def _dead_letters(deployment: Deployment) -> str:
    return str(deployment.settings.kafka.order_dlq)


@dataclass(frozen=True)
class Odd:
    """A message of one kind; all but `value` are what a broker keeps of it."""

    kind: str
    value: bytes | None
    key: bytes | None = None
    timestamp: int = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()


def odd_messages(valid: Mapping[str, Any], key: bytes, rng: random.Random) -> list[Odd]:
    """One message of each kind, made from a valid event.

    Args:
        valid: accepted as it is.
        key: of its message.
        rng: draws bytes and ids.
    """
    body = json.dumps(valid).encode()

    def changed(**fields: Any) -> bytes:
        return json.dumps({**valid, **fields}).encode()

    return [
        Odd("random bytes", rng.randbytes(200), key),
        Odd("empty value", b"", key),
        Odd("no value", None, key),
        Odd("cut JSON", body[: len(body) // 2], key),
        Odd("not UTF-8", body[:-1] + b"\xff\xfe}", key),
        Odd("key not UTF-8", changed(event_id=_id(rng)), b"\xff\xfe\x00"),
        Odd("byte order mark", b"\xef\xbb\xbf" + changed(event_id=_id(rng)), key),
        Odd("deep nesting", b"[" * 5_000 + b"]" * 5_000, key),
        Odd("huge number", body[:-1] + b', "extra": 1' + b"0" * 400 + b"}", key),
        Odd("infinite number", body[:-1] + b', "extra": 1e999}', key),
        Odd("NUL in a text", changed(event_id=_id(rng), source="a\u0000b"), key),
        Odd("half of a surrogate pair", changed(event_id=_id(rng), source="\ud800"), key),
        Odd("version 99", changed(schema_version=99), key),
        Odd("version is a text", changed(schema_version="one"), key),
        Odd("list of events", b"[" + body + b"]", key),
        Odd("one megabyte", changed(padding="x" * 900_000), key),
        Odd("time in microseconds", changed(event_id=_id(rng)), key, MICROSECONDS),
        Odd("time after the year 9999", changed(event_id=_id(rng)), key, FAR_FUTURE),
        Odd("header without a value", changed(event_id=_id(rng)), key, 0, (("trace", None),)),
        Odd("header value not UTF-8", changed(event_id=_id(rng)), key, 0, (("trace", b"\xff"),)),
        Odd("header twice", changed(event_id=_id(rng)), key, 0, (("a", b"1"), ("a", b"2"))),
    ]


def _id(rng: random.Random) -> str:
    return str(UUID(bytes=rng.randbytes(16), version=4))


def fuzz(trial: Trial) -> Fired:
    """One message of each kind to every topic of orders and to that of the detections."""
    rng, load = random.Random(trial.seed), trial.load  # noqa: S311 - replayable, not secret
    kafka = trial.deployment.settings.kafka
    made: dict[str, list[Odd]] = {}
    for topic in kafka.order_topics:
        event = load.status_change(f"fuzz-{topic}")
        made[topic] = odd_messages(event, str(event["order"]["order_id"]).encode(), rng)
    made[kafka.detections] = odd_messages(load.stray_frame(), KEY, rng)
    sent = produce(trial.deployment, made)
    load.odd += sent
    wanted = sum(map(len, made.values()))
    if len(sent) != wanted:
        raise NotFiredError(f"{len(sent)} of {wanted} messages were taken by Kafka")
    kinds = len({odd.kind for some in made.values() for odd in some})
    return Fired(f"{len(sent)} messages of {kinds} kinds are in {len(made)} topics", now())


@dataclass(frozen=True)
class Sent:
    """Where a message lies that no ledger knows."""

    kind: str
    position: tuple[str, int, int]
    value: bytes | None


def produce(deployment: Deployment, made: Mapping[str, list[Odd]]) -> list[Sent]:
    """Send messages past every check of ours; those that Kafka has taken."""
    sent: list[Sent] = []

    def taken(odd: Odd) -> Callable[[Any, Any], None]:
        def report(error: Any, message: Any) -> None:
            if error is None:
                at = (message.topic(), message.partition(), message.offset())
                sent.append(Sent(odd.kind, at, odd.value))

        return report

    config = {"bootstrap.servers": deployment.settings.kafka.bootstrap, "acks": "all"}
    producer = Producer(config, logger=log)
    for topic, odds in made.items():
        for odd in odds:
            producer.produce(
                topic,
                odd.value,
                odd.key,
                timestamp=odd.timestamp,
                headers=list(odd.headers),
                on_delivery=taken(odd),
            )
    try:
        producer.flush(ADMIN_SECONDS)
    except KafkaException as error:
        raise NotFiredError(f"Kafka refuses messages: {error}") from error
    return sent
