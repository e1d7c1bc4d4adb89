"""The tree of all settings.

Sources, strongest first: `STORELAKE_*` environment variables (nested with `__`, such as
`STORELAKE_KAFKA__BOOTSTRAP_SERVERS`), `.env`, the secrets that `storelake up` generated
(`<var>/secrets.env`), the profile `conf/profiles/<STORELAKE_PROFILE>.toml`, the defaults.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from conf.settings.alerts import AlertSettings
from conf.settings.base import CONF_DIR
from conf.settings.brokers import KafkaSettings, PulsarSettings
from conf.settings.cameras import InferenceSettings
from conf.settings.operation import (
    LineageSettings,
    MaintenanceSettings,
    QualitySettings,
    RetentionSettings,
    SupervisorSettings,
)
from conf.settings.services import ConsoleSettings, GatewaySettings, HttpSettings, TrinoSettings
from conf.settings.sources import PREFIX, sources
from conf.settings.spark import SparkSettings
from conf.settings.storage import CatalogSettings, PostgresRole, PostgresSettings, S3Settings
from conf.settings.streams import StreamSettings

Broker = TypeVar("Broker", KafkaSettings, PulsarSettings)


class Settings(BaseSettings):
    """The whole tree; `load_settings` builds it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
        frozen=True,
        extra="ignore",
    )

    profile: str = "local"
    """Name of a file in `conf/profiles`."""
    var_dir: Path = Path("var")
    """Folder of the deployment's state."""
    cache_dir: Path = Path("~/.cache/storelake")
    """Folder of downloaded programs and JARs."""
    stores_file: Path = CONF_DIR / "stores" / "demo.toml"
    """Branches, cameras, lines and zones."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level of log lines."""
    metrics_host: str = "127.0.0.1"
    """Listening address of /metrics of streams, cameras, validation and maintenance; the gateway
    has its own (`gateway.operations_port`)."""
    java_home: Path | None = Field(
        default=None, validation_alias=AliasChoices("STORELAKE_JAVA_HOME", "JAVA_HOME", "java_home")
    )
    """Java (17 or newer) of Kafka, Pulsar and Spark; by default that on the PATH."""
    kafka: KafkaSettings = KafkaSettings()
    pulsar: PulsarSettings = PulsarSettings()
    postgres: PostgresSettings = PostgresSettings()
    s3: S3Settings = S3Settings()
    catalog: CatalogSettings = CatalogSettings()
    trino: TrinoSettings = TrinoSettings()
    spark: SparkSettings = SparkSettings()
    streams: StreamSettings = StreamSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    retention: RetentionSettings = RetentionSettings()
    quality: QualitySettings = QualitySettings()
    lineage: LineageSettings = LineageSettings()
    http: HttpSettings = HttpSettings()
    gateway: GatewaySettings = GatewaySettings()
    supervisor: SupervisorSettings = SupervisorSettings()
    inference: InferenceSettings = InferenceSettings()
    console: ConsoleSettings = ConsoleSettings()
    alerts: AlertSettings = AlertSettings()

    @field_validator("var_dir", "cache_dir", "stores_file")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("kafka", "pulsar")
    @classmethod
    def _trust_local_authority(cls, broker: Broker, info: ValidationInfo) -> Broker:
        """The local broker's certificate is signed by the authority of this deployment."""
        if broker.tls_ca_file or not broker.local_tls:
            return broker
        return broker.model_copy(update={"tls_ca_file": info.data["var_dir"] / "tls" / "ca.pem"})

    @property
    def warehouse(self) -> str:
        """URI of the tables of the lake; each table format has a folder of its own by default."""
        folder = "delta" if self.catalog.format == "delta" else "warehouse"
        return self.catalog.warehouse or f"file://{self.var_dir}/{folder}"

    @property
    def bucket(self) -> str | None:
        """Bucket of a warehouse on S3; None for other warehouses."""
        parts = urlsplit(self.warehouse)
        return parts.netloc if parts.scheme == "s3" else None

    @property
    def wants_minio(self) -> bool:
        """Whether the deployment runs MinIO: for a warehouse on S3 without an endpoint."""
        return self.bucket is not None and self.s3.endpoint is None

    @property
    def checkpoints(self) -> Path:
        """Local folder of Spark's offsets, commits and state, one folder a query.

        Each table format has its own: a lake in another format is filled from the start of the
        topics, and sinks skip the rows that they have.
        """
        folder = self.var_dir / "checkpoints"
        return folder / "delta" if self.catalog.format == "delta" else folder

    def checkpoint(self, query: str) -> str:
        """Checkpoint of one query as a Hadoop address; `s3a` is Hadoop's S3 client."""
        place = self.streams.checkpoints
        if place is None:
            return f"file://{self.checkpoints / query}"
        folder = "/delta" if self.catalog.format == "delta" else ""
        return f"s3a{place.removeprefix('s3').rstrip('/')}{folder}/{query}"

    @property
    def wants_pulsar(self) -> bool:
        """Whether the deployment runs Pulsar: enabled, read by streams, or used by cameras."""
        return (
            self.pulsar.enabled
            or "pulsar" in self.streams.detections_from
            or self.inference.publisher == "pulsar"
        )

    def acting_as(self, role: PostgresRole) -> Settings:
        """The settings of a process that connects to Postgres as this role, and to S3 as it may."""
        s3 = self.s3.acting_as_reader() if role == "reader" else self.s3
        return self.model_copy(update={"postgres": self.postgres.acting_as(role), "s3": s3})

    @property
    def owner_dsn(self) -> str:
        """Connection string of the owner of the tables."""
        return self.postgres.acting_as("owner").dsn

    @property
    def gateway_dsn(self) -> str:
        """Connection string of the gateway, with its own database role."""
        return self.postgres.acting_as("gateway").dsn

    @property
    def console_dsn(self) -> str:
        """Connection string of the console, with its own database role."""
        secret = SecretStr(self.console.secret)
        role = {"role": "owner", "user": self.console.user, "password": secret}
        return self.postgres.model_copy(update=role).dsn

    @property
    def spool(self) -> Path:
        """Folder of events that wait for a broker, one folder a publisher."""
        return self.var_dir / "spool"

    @property
    def secrets_file(self) -> Path:
        """File of the secrets that `storelake up` generated (mode 0600)."""
        return self.var_dir / "secrets.env"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (its signature)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Sources of `conf.settings.sources`, the strongest first."""
        return sources(settings_cls, init_settings, env_settings, dotenv_settings)
