"""Options of the Kafka clients (librdkafka) of every program; no I/O.

A broker that stops answering without closing its connections is noticed within 30 s: the request
fails and its connection is closed. `client_options` of the settings override defaults, except those
that delivery guarantees rely on: every producer waits for all replicas and is idempotent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # Spark's planner processes load this module, and need no settings
    from confluent_kafka import KafkaError

    from conf.settings import KafkaSettings, Principal

CALL_SECONDS = 10
"""How long a question for metadata, or to an administration, may take."""

SCRAM = "SCRAM-SHA-512"
"""The SASL mechanism: a server that is not the broker learns no password from it."""

CONNECTION: Mapping[str, Any] = {
    "socket.keepalive.enable": "true",
    "socket.connection.setup.timeout.ms": "10000",
    "socket.timeout.ms": f"{1000 * CALL_SECONDS}",
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

Client = TypeVar("Client")


class Rejections:
    """An `error_cb` that keeps why the cluster refused the last connection of its client.

    librdkafka reports a wrong password or certificate only there: the call that fails because of it
    states that the broker does not answer.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.is_rejection = False
        """Whether the reason is one of the cluster, such as a wrong password, and no outage."""

    def __call__(self, error: KafkaError) -> None:
        """Keep the reason; that all brokers are down is none."""
        if error.name() != "_ALL_BROKERS_DOWN":
            self.reason = error.str()
            self.is_rejection = error.fatal() or error.name() in ("_AUTHENTICATION", "_SSL")

    def clear(self) -> None:
        """Drop the reason: the cluster has accepted something since."""
        self.reason, self.is_rejection = "", False

    def explain(self, error: KafkaError, client: Any = None) -> str:
        """Why a call or a message failed.

        Args:
            error: of the call, or of the delivery report.
            client: an administration or producer whose events wait for a poll; None in a callback.
        """
        if error.name() not in ("_TRANSPORT", "_TIMED_OUT", "_MSG_TIMED_OUT"):
            return error.str()
        if client is not None:
            client.poll(0)
        return self.reason or f"{error.str()}; if it runs, check STORELAKE_KAFKA__SECURITY"


def open_client(kind: Callable[..., Client], config: Mapping[str, Any], **more: Any) -> Client:
    """A client of confluent-kafka.

    Args:
        kind: its class.
        config: of `client_config` or `producer_config`.
        more: arguments of the class, such as a logger.

    Raises:
        SettingsError: librdkafka refuses an option, or a value such as a file that is not there.
    """
    from confluent_kafka import KafkaException  # noqa: PLC0415 - planners load it without need

    from conf.settings import SettingsError  # noqa: PLC0415

    try:
        return kind(dict(config), **more)
    except KafkaException as error:
        raise SettingsError(
            f"Kafka's client refuses its options ({error.args[0].str()}): correct "
            "STORELAKE_KAFKA__CLIENT_OPTIONS, or STORELAKE_KAFKA__TLS_CA_FILE."
        ) from error


def connection_config(kafka: KafkaSettings, principal: Principal) -> dict[str, str]:
    """Options of a connection: address, protocol, credentials, and `client_options`.

    Raises:
        SettingsError: the credentials are not set.
    """
    given = {**_security(kafka, principal), **kafka.client_options}
    return {**given, "bootstrap.servers": kafka.bootstrap}


def _security(kafka: KafkaSettings, principal: Principal) -> dict[str, str]:
    if "security.protocol" in kafka.client_options or kafka.protocol == "plaintext":
        return {}
    user, password = kafka.credentials(principal)
    sasl = {"sasl.mechanism": SCRAM, "sasl.username": user, "sasl.password": password}
    trusted = {"ssl.ca.location": str(kafka.tls_ca_file)} if kafka.tls_ca_file else {}
    return {"security.protocol": kafka.protocol, **sasl, **trusted}


def client_config(
    kafka: KafkaSettings, principal: Principal, own: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Options of an administration or a consumer, which connects as `principal`.

    Raises:
        SettingsError: the credentials are not set.
    """
    return {**CONNECTION, **(own or {}), **connection_config(kafka, principal)}


def producer_config(
    kafka: KafkaSettings,
    principal: Principal,
    own: Mapping[str, Any] | None = None,
    *,
    message_timeout_ms: int | None = None,
) -> dict[str, Any]:
    """Options of an idempotent producer that waits for all replicas.

    At most 64 MiB wait for the broker; beyond that `produce` raises `BufferError`. A warning names
    each of the `client_options` that does not apply.

    Args:
        kafka: the cluster, with its `client_options`.
        principal: the user that it connects as.
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
    given = {n: v for n, v in client_config(kafka, principal, defaults).items() if n not in ignored}
    return given | required
