"""Settings of Kafka and Pulsar: addresses, topics, local brokers."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator, model_validator

from conf.settings.base import Frozen

RESERVED_OPTIONS = frozenset(
    {"acks", "request.required.acks", "enable.idempotence", "bootstrap.servers"}
)
"""librdkafka options that the delivery guarantees of the product depend on."""


class KafkaSettings(Frozen):
    """Kafka: its address and the topics of the product."""

    host: str = "127.0.0.1"
    """Address of the local broker."""
    port: int = 19092
    """Port of the local broker."""
    controller_port: int = 19093
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
    client_options: dict[str, str] = Field(default_factory=dict)
    """Additional librdkafka options of every client (SASL, TLS). Producers always wait for all
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
    port: int = 16650
    """Port of the local broker."""
    admin_port: int = 16680
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
    token: SecretStr | None = None
    """Token of a cluster with authentication."""
    tls_ca_file: Path | None = None
    """Certificate authorities to trust, for pulsar+ssl:// and https://."""
    broker_options: dict[str, str] = Field(default_factory=dict)
    """Additional lines of the local broker's configuration file."""

    @property
    def url(self) -> str:
        """The address for clients."""
        return self.service_url or f"pulsar://{self.host}:{self.port}"

    @property
    def admin(self) -> str:
        """The HTTP address for administration and the Spark source."""
        return self.admin_url or f"http://{self.host}:{self.admin_port}"

    @model_validator(mode="after")
    def _require_both_addresses(self) -> PulsarSettings:
        if (self.service_url is None) != (self.admin_url is None):
            raise ValueError("service_url and admin_url of one cluster belong together: set both")
        return self
