"""Transactions in Kafka: committed messages arrive, aborted ones do not, and the lag falls to 0."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import uuid4

from confluent_kafka import Message, Producer

from conf.kafka import producer_config
from infra.local.process import wait_until
from verification.faults.deployment import SupervisedDeployment, now
from verification.faults.fault import Fired
from verification.faults.messages import Sent
from verification.faults.network import proxied
from verification.faults.walkers import PULSAR

COUNT = 20
CALL_SECONDS = 20.0
LAG_SECONDS = 60.0
Value = tuple[str, bytes, bytes]
"""Topic, key and value."""


def transactions(deployment: SupervisedDeployment) -> Fired:
    """Two transactions over the order topics and the detections: one commits, the other aborts.

    The aborted one is last, so each partition ends with messages that nobody may read.
    """
    load, settings = deployment.load, deployment.settings
    own = {"transactional.id": f"faults-{uuid4()}"}
    producer = Producer(producer_config(settings.kafka, "admin", own))
    producer.init_transactions(CALL_SECONDS)
    committed = _produce(producer, _values(deployment))
    producer.commit_transaction(CALL_SECONDS)
    aborted = _produce(producer, _values(deployment))
    producer.abort_transaction(CALL_SECONDS)
    load.odd += committed
    load.aborted += ["/".join(map(str, one.position)) for one in aborted]
    last = {one.position[:2]: one.position[2] for one in committed}
    past = wait_until(lambda: not deployment.behind(last), LAG_SECONDS, every=0.5)
    broken = [] if past else [f"not past them: {', '.join(deployment.behind(last))}"]
    programs = proxied(deployment)
    # The load goes on, so it need not be 0; aborted orders that wait would be more.
    most = COUNT * len(settings.kafka.order_topics) // 2

    def caught_up() -> bool:
        lag = programs.lag()
        return lag is not None and lag < most

    if not wait_until(caught_up, LAG_SECONDS, every=0.25):
        broken.append(f"the lag is {programs.lag()} after {LAG_SECONDS:.0f} s")
    observed = f"{len(committed)} messages committed, {len(aborted)} aborted"
    return Fired(observed, now(), broken)


def _values(deployment: SupervisedDeployment) -> list[Value]:
    kafka, found = deployment.settings.kafka, list[Value]()
    for topic in kafka.order_topics:
        for number in range(COUNT):
            order_id = f"transaction-{topic}-{number}"
            event = deployment.load.status_change(order_id)
            found.append((topic, order_id.encode(), json.dumps(event).encode()))
    frames = (deployment.load.stray_frame() for _ in range(COUNT))
    return [*found, *((kafka.detections, PULSAR.key, json.dumps(one).encode()) for one in frames)]


def _produce(producer: Producer, values: Sequence[Value]) -> list[Sent]:
    """Begin a transaction and send messages; they are at the broker, and still uncommitted."""
    sent = list[Sent]()

    def delivered(error: object, message: Message) -> None:
        if error is None:
            at = (str(message.topic()), int(message.partition() or 0), int(message.offset() or 0))
            sent.append(Sent("message of a transaction", at, message.value()))

    producer.begin_transaction()
    for topic, key, value in values:
        producer.produce(topic, value, key, on_delivery=delivered)
    producer.flush(CALL_SECONDS)
    return sent
