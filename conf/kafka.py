"""Options of the Kafka clients (librdkafka) of every program; no I/O.

A broker that stops answering without closing its connections is noticed within 30 s: the request
fails and its connection is closed. `client_options` of the settings override defaults, except those
that delivery guarantees rely on: every producer waits for all replicas and is idempotent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Spark's planner processes load this module, and need no settings
    from conf.settings import KafkaSettings

CALL_SECONDS = 10
"""How long a question for metadata, or to an administration, may take."""

CONNECTION: Mapping[str, Any] = {
    "socket.keepalive.enable": "true",
    "socket.connection.setup.timeout.ms": "10000",
    "socket.timeout.ms": "30000",
    # Back within a second once the broker is, without a log line every 50 ms until then.
    "reconnect.backoff.ms": "500",
    "reconnect.backoff.max.ms": "1000",
}
"""Of every client, a consumer's included."""

KEY_PARTITIONER: Mapping[str, Any] = {"partitioner": "murmur2_random"}
"""The partitioner of JVM producers, so that all producers send an order to one partition."""

_DURABLE: Mapping[str, Any] = {"acks": "all", "enable.idempotence": True}
_TIMEOUTS = ("message.timeout.ms", "delivery.timeout.ms")

_log = logging.getLogger(__name__)


def client_config(kafka: KafkaSettings, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Options of an administration or a consumer."""
    given = {**CONNECTION, **(own or {}), **kafka.client_options}
    return {**given, "bootstrap.servers": kafka.bootstrap}


def producer_config(
    kafka: KafkaSettings,
    own: Mapping[str, Any] | None = None,
    *,
    message_timeout_ms: int | None = None,
) -> dict[str, Any]:
    """Options of an idempotent producer that waits for all replicas.

    At most 64 MiB wait for the broker; beyond that `produce` raises `BufferError`. A warning names
    each of the `client_options` that does not apply.

    Args:
        kafka: the cluster, with its `client_options`.
        own: defaults of the caller, which `client_options` may change.
        message_timeout_ms: how long a message may wait for its acknowledgement, 0 for ever. The
            caller relies on it, so `client_options` does not change it. None: librdkafka's default.
    """
    defaults = {"linger.ms": 5, "queue.buffering.max.kbytes": 64 * 1024, **(own or {})}
    required = dict(_DURABLE)
    ignored = set(_DURABLE)
    if message_timeout_ms is not None:
        required[_TIMEOUTS[0]] = message_timeout_ms
        ignored.update(_TIMEOUTS)
    for name in sorted(ignored.intersection(kafka.client_options)):
        _log.warning("kafka.client_options: %s is ignored, this producer sets it", name)
    given = {n: v for n, v in client_config(kafka, defaults).items() if n not in ignored}
    return given | required
