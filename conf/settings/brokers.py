"""Settings of Kafka and Pulsar: addresses, topics, local brokers."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from conf.settings.base import Frozen, Port, Secret, SettingsError, is_loopback

RESERVED_OPTIONS = frozenset(
    {"acks", "request.required.acks", "enable.idempotence", "bootstrap.servers"}
)
"""librdkafka options that the delivery guarantees of the product depend on."""

Principal = Literal["admin", "gateway", "streams", "cameras", "operator", "console", "reader"]
"""User of a program at a broker; `infra/local/kafka_access.py` and `pulsar.py` grant them rights.
operator: commands that write orders past the gateway (redrive, imports); reader: reconciliation."""


def derived_secret(secret: SecretStr, *purpose: str) -> str:
    """A password of 64 hexadecimal digits that only the holder of `secret` can compute."""
    key = secret.get_secret_value().encode()
    return hmac.digest(key, "/".join(purpose).encode(), "sha256").hex()


def signed_token(subject: str, key: bytes) -> str:
    """A JSON Web Token (RFC 7519) signed with HMAC-SHA-256, without an end."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"}, {"sub": subject})]
    head = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = urlsafe_b64encode(hmac.digest(key, head, "sha256")).rstrip(b"=")
    return (head + b"." + signature).decode()


class KafkaSettings(Frozen):
    """Kafka: its address and the topics of the product."""

    host: str = "127.0.0.1"
    """Address of the local broker."""
    port: Port = 19092
    """Port of the local broker."""
    controller_port: Port = 19093
    """Port of the local broker's KRaft controller."""
    bootstrap_servers: str | None = None
    """Address list of an existing cluster; by default the local broker at host:port."""
    partitions: int = Field(default=4, ge=1)
    """Number of partitions of a topic that the product creates."""
    heap_mb: int = Field(default=384, ge=128)
    """Heap of the local broker in MB."""
    order_created: str = "order-created"
    """Topic of `order.created` events."""
    order_updated: str = "order-updated"
    """Topic of `order.updated` events."""
    order_cancelled: str = "order-cancelled"
    """Topic of `order.cancelled` events."""
    order_events: str = "order-events"
    """Topic of `order.status_changed` events and of events of any type."""
    order_dlq: str = "order-dlq"
    """Topic of rejected order events."""
    detections: str = "detections"
    """Topic of detection events."""
    security: Literal["plaintext", "sasl_plaintext", "sasl_ssl"] | None = None
    """Protocol of the clients and of the local broker; SASL is SCRAM-SHA-512. By default
    sasl_plaintext for the local broker, sasl_ssl for a cluster beyond loopback, where plaintext is
    refused."""
    private_network: bool = False
    """Accept plaintext beyond loopback: the network has this deployment's containers alone."""
    username: str | None = None
    """User of every client of this process; by default the local broker's user of each program."""
    password: Secret | None = None
    """Password of that user."""
    secret: Secret | None = None
    """Secret from which the passwords of the local broker's users are computed; `storelake up`
    generates it."""
    tls_ca_file: Path | None = None
    """Certificate authorities to trust, for sasl_ssl; by default those of the system, or the local
    broker's own (<var>/tls/ca.pem)."""
    client_options: dict[str, str] = Field(default_factory=dict)
    """Additional librdkafka options of every client. With security.protocol among them, they alone
    decide how clients authenticate. Producers always wait for all
    replicas and are idempotent: acks and enable.idempotence cannot be set; each
    sets its own message.timeout.ms."""

    @field_validator("client_options")
    @classmethod
    def _reject_reserved(cls, options: dict[str, str]) -> dict[str, str]:
        reserved = sorted(RESERVED_OPTIONS & {name.lower() for name in options})
        if reserved:
            raise ValueError(
                f"{' and '.join(reserved)} cannot be set here: producers wait for all replicas and "
                "are idempotent, and STORELAKE_KAFKA__BOOTSTRAP_SERVERS names the cluster"
            )
        return options

    @model_validator(mode="after")
    def _refuse_plaintext(self) -> KafkaSettings:
        if self.protocol == "plaintext" and not (self._on_loopback or self.private_network):
            raise ValueError(
                f"plaintext is refused beyond loopback, and {self.bootstrap} is: anybody on the "
                "network could read and write orders; set STORELAKE_KAFKA__SECURITY=sasl_ssl, "
                "__USERNAME and __PASSWORD"
            )
        return self

    @property
    def _on_loopback(self) -> bool:
        hosts = (one.split("://")[-1].rpartition(":") for one in self.bootstrap.split(","))
        return all(is_loopback((host or rest).strip()) for host, _, rest in hosts)

    @property
    def protocol(self) -> str:
        """`security` in effect, or `security.protocol` of `client_options`, in lower case."""
        if given := self.client_options.get("security.protocol") or self.security:
            return given.lower()
        if not self._on_loopback:
            return "sasl_ssl"
        theirs = self.bootstrap_servers and not self.username
        return "plaintext" if theirs else "sasl_plaintext"

    def at(self, address: str, principal: Principal) -> KafkaSettings:
        """The same cluster behind another address, such as that of a proxy, with one user."""
        user, password = self.credentials(principal)
        access = {"username": user, "password": SecretStr(password)}
        return self.model_copy(update={"bootstrap_servers": address, **access})

    def credentials(self, principal: Principal) -> tuple[str, str]:
        """User and password of a program's clients.

        Raises:
            SettingsError: they are not set.
        """
        if self.username and self.password:
            return self.username, self.password.get_secret_value()
        if self.secret and self.bootstrap_servers is None:
            return principal, derived_secret(self.secret, "kafka", principal)
        raise SettingsError(
            f"Kafka at {self.bootstrap} is used with {self.protocol}, and there is no user for it: "
            "set STORELAKE_KAFKA__USERNAME and __PASSWORD, or run `storelake up`, which makes the "
            "local broker's users."
        )

    @property
    def local_tls(self) -> bool:
        """Whether the local broker serves with TLS."""
        return self.bootstrap_servers is None and self.protocol == "sasl_ssl"

    @property
    def bootstrap(self) -> str:
        """The address list for clients."""
        return self.bootstrap_servers or f"{self.host}:{self.port}"

    @property
    def order_topics(self) -> tuple[str, ...]:
        """The input topics of order events, without the dead letters."""
        return (self.order_created, self.order_updated, self.order_cancelled, self.order_events)

    @property
    def all_topics(self) -> tuple[str, ...]:
        """Every topic that must exist before the product starts."""
        return (*self.order_topics, self.order_dlq, self.detections)


class PulsarSettings(Frozen):
    """Pulsar: its addresses and the topic of detections."""

    enabled: bool = False
    """Start Pulsar with the other local services even if no stream and no camera uses it."""
    host: str = "127.0.0.1"
    """Address of the local broker."""
    port: Port = 16650
    """Port of the local broker."""
    admin_port: Port = 16680
    """HTTP port of the local broker."""
    service_url: str | None = None
    """Address of an existing cluster; by default the local broker at host:port."""
    admin_url: str | None = None
    """HTTP address of that cluster; by default the local broker at host:admin_port."""
    partitions: int = Field(default=4, ge=1)
    """Number of partitions of a topic that the product creates."""
    heap_mb: int = Field(default=256, ge=128)
    """Heap of the local broker in MB."""
    detections: str = Field(
        default="persistent://retail/metadata/events",
        pattern=r"^persistent://[\w.=:-]+/[\w.=:-]+/[\w.=:-]+$",
    )
    """Topic of detection events: persistent://TENANT/NAMESPACE/TOPIC."""
    security: Literal["plaintext", "token", "token_tls"] = "token"
    """How the local broker authenticates its clients, and whether it serves with TLS. A cluster
    beyond loopback has pulsar+ssl://, https:// and a token; anything less is refused."""
    private_network: bool = False
    """Accept a cluster beyond loopback without TLS or token: the network has this deployment's
    containers alone."""
    token: Secret | None = None
    """Token of every client of this process, for a cluster with authentication."""
    secret: Secret | None = None
    """Secret from which the local broker's key of tokens is computed; `storelake up` generates
    it."""
    tls_ca_file: Path | None = None
    """Certificate authorities to trust, for pulsar+ssl:// and https://; by default those of the
    system, or the local broker's own (<var>/tls/ca.pem)."""
    broker_options: dict[str, str] = Field(default_factory=dict)
    """Additional lines of the local broker's configuration file."""

    @property
    def url(self) -> str:
        """The address for clients."""
        scheme = "pulsar+ssl" if self.local_tls else "pulsar"
        return self.service_url or f"{scheme}://{self.host}:{self.port}"

    @property
    def admin(self) -> str:
        """The HTTP address for administration and the Spark source."""
        scheme = "https" if self.local_tls else "http"
        return self.admin_url or f"{scheme}://{self.host}:{self.admin_port}"

    @property
    def local_tls(self) -> bool:
        """Whether the local broker serves with TLS."""
        return self.service_url is None and self.security == "token_tls"

    @property
    def token_key(self) -> bytes:
        """Key with which the local broker checks tokens.

        Raises:
            SettingsError: there is none yet.
        """
        if self.secret is None:
            raise SettingsError(
                "STORELAKE_PULSAR__SECRET is not set: run `storelake up`, which generates it, or "
                "set that of the deployment."
            )
        return derived_secret(self.secret, "pulsar").encode()

    def token_of(self, principal: Principal) -> str | None:
        """Token of a program's clients; None where none is needed.

        Raises:
            SettingsError: the local broker has no secret yet.
        """
        if self.token:
            return self.token.get_secret_value()
        if self.service_url is not None or self.security == "plaintext":
            return None
        return signed_token(principal, self.token_key)

    @model_validator(mode="after")
    def _require_both_addresses(self) -> PulsarSettings:
        if (self.service_url is None) != (self.admin_url is None):
            raise ValueError("service_url and admin_url of one cluster belong together: set both")
        return self

    @model_validator(mode="after")
    def _refuse_plaintext(self) -> PulsarSettings:
        addresses = [urlsplit(self.url), urlsplit(self.admin)]
        hosts = [one.hostname or "" for one in addresses]
        encrypted = [one.scheme for one in addresses] == ["pulsar+ssl", "https"]
        reachable = not (all(map(is_loopback, hosts)) or self.private_network)
        if reachable and not (encrypted and self.token):
            raise ValueError(
                f"{self.url} is beyond loopback, where anybody on the network could read and send "
                "detections: set STORELAKE_PULSAR__SERVICE_URL=pulsar+ssl://..., "
                "__ADMIN_URL=https://... and __TOKEN"
            )
        return self
