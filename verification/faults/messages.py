"""A topic that vanishes, and messages that no producer should send: one of each kind."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stubs do not export them
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from conf.kafka import client_config, connection_config
from infra.local.process import wait_until
from streaming.registry import STREAMS
from verification.faults.deployment import SupervisedDeployment, now
from verification.faults.fault import Fired, NotFiredError, require
from verification.faults.raw_kafka import ProduceError, Record, produce
from verification.faults.walkers import PULSAR

log = logging.getLogger("storelake.faults")

ADMIN_SECONDS = 20.0
WITHOUT_TOPIC_SECONDS = 90.0
PAST_SECONDS = 60.0
CAMERAS = [stream.name for stream in STREAMS if stream.reads == "detections"]
BAD = ("failed", "stalled", "retrying")
FAR_FUTURE = 253_402_300_800_000 + 10**12  # milliseconds: after the year 9999
MICROSECONDS = 1_764_000_000_000_000  # what a producer sends that takes them for milliseconds


def delete_dead_letter_topic(deployment: SupervisedDeployment) -> Fired:
    """Delete `order-dlq` while poison comes in: orders stop, and cameras go on."""
    driver = require(deployment, "streams")
    topic = deployment.settings.kafka.order_dlq
    admin = _admin(deployment)
    for done in admin.delete_topics([topic], operation_timeout=ADMIN_SECONDS).values():
        done.result(ADMIN_SECONDS)
    if not wait_until(lambda: topic not in admin.list_topics(timeout=5).topics, ADMIN_SECONDS):
        raise NotFiredError(f"topic {topic} is still there")

    def orders() -> str:
        return deployment.states().get("order_event_processor") or "without a state"

    def over() -> bool:
        state = orders()
        deployment.step(f"{topic} is deleted; order_event_processor is {state}")
        return state == "failed" or not driver.is_running()

    wait_until(over, WITHOUT_TOPIC_SECONDS, every=1.0)
    failed_at = now()
    cameras = wait_until(lambda: deployment.all_committed(failed_at, ("footfall",)), 20.0)
    broken = [] if driver.is_running() else ["the application ended"]
    broken += [] if cameras else ["footfall commits nothing any more"]
    states = deployment.states()
    broken += [f"{name} is {states[name]}" for name in CAMERAS if states.get(name, "") in BAD]
    state = orders()
    deployment.storelake("up", "--services-only")  # makes the topic again
    if state == "failed":
        deployment.restart_streams()
    return Fired(f"{topic} deleted; orders {state}", now(), broken)


def odd_messages(
    valid: Mapping[str, Any], key: bytes, rng: random.Random, now: int
) -> dict[str, Record]:
    """One message of each kind, by its kind, made from a valid event.

    Args:
        valid: accepted as it is.
        key: of its message.
        rng: draws bytes and ids.
        now: milliseconds since 1970, for messages whose time is not what is odd.
    """
    body = json.dumps(valid).encode()

    def changed(**fields: Any) -> bytes:
        return json.dumps({**valid, **fields}).encode()

    def fresh(**fields: Any) -> bytes:
        """Valid, with an id of its own."""
        return changed(event_id=str(UUID(bytes=rng.randbytes(16), version=4)), **fields)

    records = {
        "random bytes": Record(rng.randbytes(200), key),
        "empty value": Record(b"", key),
        "no value": Record(None, key),
        "cut JSON": Record(body[: len(body) // 2], key),
        "not UTF-8": Record(body[:-1] + b"\xff\xfe}", key),
        "key not UTF-8": Record(fresh(), b"\xff\xfe\x00"),
        "no key": Record(fresh(), None),
        "byte order mark": Record(b"\xef\xbb\xbf" + fresh(), key),
        "deep nesting": Record(b"[" * 5_000 + b"]" * 5_000, key),
        "huge number": Record(body[:-1] + b', "extra": 1' + b"0" * 400 + b"}", key),
        "infinite number": Record(body[:-1] + b', "extra": 1e999}', key),
        "NUL in a text": Record(fresh(source="a\u0000b"), key),
        "half of a surrogate pair": Record(fresh(source="\ud800"), key),
        "version 99": Record(changed(schema_version=99), key),
        "version is a text": Record(changed(schema_version="one"), key),
        "list of events": Record(b"[" + body + b"]", key),
        "one megabyte": Record(changed(padding="x" * 900_000), key),
        "time in microseconds": Record(fresh(), key, MICROSECONDS),
        "time after the year 9999": Record(fresh(), key, FAR_FUTURE),
        "largest time": Record(fresh(), key, 2**63 - 1),
        "no time": Record(fresh(), key, -1),
        "header name not UTF-8": Record(fresh(), key, now, ((b"trace\xff\xfe", b"1"),)),
        "header without a value": Record(fresh(), key, now, ((b"trace", None),)),
        "header value not UTF-8": Record(fresh(), key, now, ((b"trace", b"\xff"),)),
        "header twice": Record(fresh(), key, now, ((b"a", b"1"), (b"a", b"2"))),
    }
    return {k: replace(record, timestamp=record.timestamp or now) for k, record in records.items()}


def fuzz(deployment: SupervisedDeployment) -> Fired:
    """One message of each kind to every topic of orders and to that of the detections."""
    load = deployment.load
    rng = random.Random(load.seed)  # noqa: S311 - replayable, not secret
    kafka, now_ms = deployment.settings.kafka, int(now().timestamp() * 1000)
    made: dict[str, dict[str, Record]] = {}
    for topic in kafka.order_topics:
        event = load.status_change(f"fuzz-{topic}")
        key = str(event["order"]["order_id"]).encode()
        made[topic] = odd_messages(event, key, rng, now_ms)
    made[kafka.detections] = odd_messages(load.stray_frame(), PULSAR.key, rng, now_ms)
    _accept_any_time(deployment, list(made))
    for topic, records in made.items():
        load.odd += [send(deployment, topic, kind, one) for kind, one in records.items()]
    count, kinds = sum(map(len, made.values())), len(made[kafka.detections])
    observed = f"{count} messages of {kinds} kinds are in {len(made)} topics"
    last = {one.position[:2]: one.position[2] for one in load.odd}
    deployment.step(f"{observed}; waiting until every stream is past them")
    past = wait_until(lambda: not deployment.behind(last), PAST_SECONDS, every=0.5)
    broken = () if past else (f"not past them: {', '.join(deployment.behind(last))}",)
    return Fired(observed, now(), broken)


def _accept_any_time(deployment: SupervisedDeployment, topics: Sequence[str]) -> None:
    """Have the topics take times of the far future, as brokers before Kafka 4 did by themselves."""
    limit = ConfigEntry(
        "message.timestamp.after.max.ms",
        str(2**63 - 1),
        incremental_operation=AlterConfigOpType.SET,
    )
    kinds = [
        ConfigResource(ConfigResource.Type.TOPIC, t, incremental_configs=[limit]) for t in topics
    ]
    admin = _admin(deployment)  # which must outlive its answers
    for done in admin.incremental_alter_configs(kinds).values():
        done.result(ADMIN_SECONDS)


def _admin(deployment: SupervisedDeployment) -> AdminClient:
    return AdminClient(client_config(deployment.settings.kafka, "admin"), logger=log)


@dataclass(frozen=True)
class Sent:
    """The position of a message that is in no ledger."""

    kind: str
    position: tuple[str, int, int]
    value: bytes | None


def send(deployment: SupervisedDeployment, topic: str, kind: str, record: Record) -> Sent:
    """Send a message past every client library, to partition 0.

    Raises:
        NotFiredError: Kafka refuses it.
    """
    try:
        offset = produce(connection_config(deployment.settings.kafka, "admin"), topic, record)
    except ProduceError as error:
        raise NotFiredError(f"Kafka does not take {kind}: {error}") from error
    return Sent(kind, (topic, 0, offset), record.value)
