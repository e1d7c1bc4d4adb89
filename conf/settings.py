"""The one settings tree of storelake, and the only reader of the environment.

Sources, strongest first: ``STORELAKE_*`` environment variables (nested with ``__``, such as
``STORELAKE_KAFKA__BOOTSTRAP_SERVERS``), ``.env``, the secrets that ``storelake up`` generated
(``<var>/secrets.env``), the profile ``conf/profiles/<STORELAKE_PROFILE>.toml``, the defaults below.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode, urlsplit

from dotenv.parser import parse_stream
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableError

from conf.errors import StorelakeError

CONF_DIR = Path(__file__).parent
PLACEHOLDERS = frozenset({"", "changeme", "change-me", "password", "secret", "placeholder"})


class SettingsError(StorelakeError):
    """A setting is missing or unusable; the message names it and says what to do."""


class Frozen(BaseModel):
    """Base of every branch of the tree: immutable, and strict about unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(Frozen):
    """Where Kafka is, and the topics of the product (O2, V4)."""

    host: str = "127.0.0.1"
    port: int = 19092
    controller_port: int = 19093
    bootstrap_servers: str | None = Field(
        default=None, description="An existing cluster; by default the local broker at host:port."
    )
    partitions: int = Field(default=4, ge=1, description="Partitions of a topic made at start.")
    heap_mb: int = Field(default=384, ge=128, description="Heap of the local broker.")
    order_created: str = "order-created"
    order_updated: str = "order-updated"
    order_cancelled: str = "order-cancelled"
    order_events: str = "order-events"
    order_dlq: str = "order-dlq"
    detections: str = "detections"
    client_options: dict[str, str] = Field(
        default_factory=dict,
        description="Extra librdkafka options of every client (SASL, TLS). Producers always wait "
        "for all replicas and are idempotent: acks and enable.idempotence cannot be set; each sets "
        "its own message.timeout.ms.",
    )

    @field_validator("client_options")
    @classmethod
    def _keep_what_promises_rest_on(cls, options: dict[str, str]) -> dict[str, str]:
        kept = {"acks", "request.required.acks", "enable.idempotence", "bootstrap.servers"}
        wrong = sorted(kept & {name.lower() for name in options})
        if wrong:
            raise ValueError(
                f"{' and '.join(wrong)} cannot be set here: producers wait for all replicas and "
                "are idempotent, and STORELAKE_KAFKA__BOOTSTRAP_SERVERS names the cluster"
            )
        return options

    @property
    def bootstrap(self) -> str:
        """The address list that clients use."""
        return self.bootstrap_servers or f"{self.host}:{self.port}"

    @property
    def order_topics(self) -> tuple[str, ...]:
        """The topics that carry order events in, without the dead letters."""
        return (self.order_created, self.order_updated, self.order_cancelled, self.order_events)

    @property
    def all_topics(self) -> tuple[str, ...]:
        """Every topic that must exist before the product starts."""
        return (*self.order_topics, self.order_dlq, self.detections)


class PulsarSettings(Frozen):
    """Where Pulsar is, and the topic of the detections (V4, V6)."""

    enabled: bool = Field(
        default=False,
        description="Start Pulsar with the other local services, also when nothing names it.",
    )
    host: str = "127.0.0.1"
    port: int = 16650
    admin_port: int = 16680
    service_url: str | None = Field(
        default=None, description="An existing cluster; by default the local broker at host:port."
    )
    admin_url: str | None = Field(
        default=None, description="Of that cluster; by default the local one at host:admin_port."
    )
    partitions: int = Field(default=4, ge=1, description="Partitions of a topic made at start.")
    heap_mb: int = Field(default=256, ge=128, description="Heap of the local broker.")
    detections: str = Field(
        default="persistent://retail/metadata/events",
        pattern=r"^persistent://[\w.=:-]+/[\w.=:-]+/[\w.=:-]+$",
    )
    token: SecretStr | None = Field(default=None, description="Of a cluster that asks for one.")
    tls_ca_file: Path | None = Field(
        default=None, description="Certificates to trust, with pulsar+ssl:// and https://."
    )
    broker_options: dict[str, str] = Field(
        default_factory=dict, description="More lines of the local broker's configuration."
    )

    @property
    def url(self) -> str:
        """The address that clients use."""
        return self.service_url or f"pulsar://{self.host}:{self.port}"

    @property
    def admin(self) -> str:
        """The address of the administration over HTTP, which the Spark source needs, too."""
        return self.admin_url or f"http://{self.host}:{self.admin_port}"

    @model_validator(mode="after")
    def _both_addresses(self) -> PulsarSettings:
        if (self.service_url is None) != (self.admin_url is None):
            raise ValueError("service_url and admin_url of one cluster belong together: set both")
        return self


LIBPQ_BOUNDS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A peer that is gone without a word is found within half a minute, in seconds and milliseconds:
https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-KEEPALIVES"""


class PostgresSettings(Frozen):
    """The serving database, which also holds the Iceberg catalog."""

    host: str = "127.0.0.1"
    port: int = 15432
    database: str = "storelake"
    user: str = "storelake"
    password: SecretStr | None = None
    pool_size: int = Field(default=4, ge=1)
    local: bool = Field(
        default=True, description="False: a server that `storelake up` leaves alone."
    )

    @field_validator("password")
    @classmethod
    def _no_placeholder(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().lower() in PLACEHOLDERS:
            raise ValueError("STORELAKE_POSTGRES__PASSWORD is a placeholder; set a real password")
        return value

    @property
    def secret(self) -> str:
        """The password, or `SettingsError` with the name of the variable to set."""
        if self.password is None:
            raise SettingsError(
                "STORELAKE_POSTGRES__PASSWORD is not set: run `storelake up`, which makes one for "
                "the local server, or set it for yours."
            )
        return self.password.get_secret_value()

    @property
    def dsn(self) -> str:
        """A libpq connection string (psycopg), without the password in any repr of settings."""
        # libpq's quoting: https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNSTRING
        password = self.secret.replace("\\", "\\\\").replace("'", "\\'")
        return (
            f"host={self.host} port={self.port} dbname={self.database} user={self.user} "
            f"password='{password}' {' '.join(f'{k}={v}' for k, v in LIBPQ_BOUNDS.items())}"
        )

    @property
    def jdbc_url(self) -> str:
        """The JDBC address, without credentials."""
        bounds = "connectTimeout=10&loginTimeout=10&socketTimeout=60&tcpKeepAlive=true"
        return f"jdbc:postgresql://{self.host}:{self.port}/{self.database}?{bounds}"

    @property
    def sqlalchemy_url(self) -> str:
        """The SQLAlchemy address that PyIceberg's SqlCatalog takes."""
        password = quote(self.secret, safe="")
        return (
            f"postgresql+psycopg://{self.user}:{password}@{self.host}:{self.port}/{self.database}"
            f"?{urlencode(LIBPQ_BOUNDS)}"
        )


class S3Settings(Frozen):
    """The object store of a warehouse on S3; by default MinIO on this machine (docs/STORAGE.md)."""

    host: str = "127.0.0.1"
    port: int = 19000
    endpoint: str | None = Field(
        default=None, description="Of an existing S3; by default the local MinIO at host:port."
    )
    region: str = Field(
        default="us-east-1", description="Of the bucket: AWS refuses requests signed for another."
    )
    path_style: bool = Field(
        default=True,
        description="The bucket in the path of an address, not in its host name; AWS wants false.",
    )
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    create_bucket: bool = Field(
        default=True, description="`storelake up` makes the bucket where it is missing."
    )

    @field_validator("access_key", "secret_key")
    @classmethod
    def _no_placeholder(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and value.get_secret_value().lower() in PLACEHOLDERS:
            name = f"STORELAKE_S3__{str(info.field_name).upper()}"
            raise ValueError(f"{name} is a placeholder; set a real one")
        return value

    @property
    def url(self) -> str:
        """The address that clients use."""
        return self.endpoint or f"http://{self.host}:{self.port}"

    @property
    def access(self) -> str:
        """The name of the key, or `SettingsError` with the variable to set."""
        return self._given("ACCESS_KEY", self.access_key)

    @property
    def secret(self) -> str:
        """The key itself, or `SettingsError` with the variable to set."""
        return self._given("SECRET_KEY", self.secret_key)

    @staticmethod
    def _given(name: str, value: SecretStr | None) -> str:
        if value is None:
            raise SettingsError(
                f"STORELAKE_S3__{name} is not set: run `storelake up`, which makes the keys of the "
                "local MinIO, or set it for your S3."
            )
        return value.get_secret_value()


class TrinoSettings(Frozen):
    """Trino, which answers SQL on the lake beside the streams; it only reads."""

    enabled: bool = Field(default=False, description="Start Trino with the other local services.")
    host: str = "127.0.0.1"
    port: int = 18090
    url: str | None = Field(
        default=None, description="An existing server; by default the local one at host:port."
    )
    user: str = "storelake"
    heap_mb: int = Field(default=1536, ge=512, description="Heap of the local server.")
    java_home: Path | None = Field(
        default=None,
        description="Its Java (24 or newer); without it, the first such one of JAVA_HOME, the PATH "
        "and /usr/lib/jvm.",
    )

    @property
    def address(self) -> str:
        """Where clients find it."""
        return self.url or f"http://{self.host}:{self.port}"


class CatalogSettings(Frozen):
    """The table format, the Iceberg catalog (in Postgres, or a REST service) and the warehouse."""

    format: Literal["iceberg", "delta"] = Field(
        default="iceberg", description="Of all tables of the lake; docs/FORMATS.md compares them."
    )
    name: str = "storelake"
    type: Literal["jdbc", "rest"] = Field(
        default="jdbc", description="jdbc: in our Postgres; rest: the service at `uri`."
    )
    uri: str | None = Field(
        default=None, pattern="^https?://", description="Of the REST catalog: http:// or https://."
    )
    token: SecretStr | None = Field(default=None, description="Of a REST catalog that wants one.")
    credential: SecretStr | None = Field(
        default=None, description="ID:SECRET, for which a REST catalog gives a token."
    )
    warehouse: str | None = Field(
        default=None,
        description="file:///FOLDER or s3://BUCKET/PREFIX, or what a REST catalog calls it; by "
        "default <var>/warehouse, and <var>/delta for Delta.",
    )
    views: bool = Field(
        default=True, description="Streams that start make the views for analysts in the catalog."
    )
    snapshot_retention: timedelta = Field(
        default=timedelta(minutes=3), description="How far back tables can be read as they were."
    )

    @model_validator(mode="after")
    def _can_be_found(self) -> CatalogSettings:
        if (self.type == "rest") != (self.uri is not None):
            raise ValueError("a catalog of type rest, and no other, needs a uri: set both")
        known = re.match(r"file:///|s3://[a-z0-9]", self.warehouse or "file:///")
        if self.type == "jdbc" and not known:
            raise ValueError(f"{self.warehouse!r} is neither file:///FOLDER nor s3://BUCKET/PREFIX")
        return self


class SparkSettings(Frozen):
    """How sessions are built (`streaming/session.py`)."""

    master: str = "local[2]"
    driver_memory: str = "1g"
    driver_java_options: str = Field(
        default="-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        description="The second one: planning small batches is over before C2 has compiled it.",
    )
    shuffle_partitions: int = Field(
        default=1,
        ge=1,
        description="Tasks that follow tracks: each costs files and a talk with Python in every "
        "micro-batch. A checkpoint keeps the number that it began with.",
    )
    packages: tuple[str, ...] = (
        "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0",
        "org.postgresql:postgresql:42.7.8",
    )
    delta_packages: tuple[str, ...] = Field(
        default=("io.delta:delta-spark_4.1_2.13:4.3.1",),
        description="In place of `packages` where the lake is in Delta.",
    )
    s3_packages: tuple[str, ...] = Field(
        default=("org.apache.iceberg:iceberg-aws-bundle:1.12.0",),
        description="Added where the warehouse is on S3.",
    )
    hadoop_s3_packages: tuple[str, ...] = Field(
        default=(
            "org.apache.iceberg:iceberg-aws-bundle:1.12.0",
            "org.apache.hadoop:hadoop-aws:3.4.2",
            "org.apache.spark:spark-hadoop-cloud_2.13:4.1.1",
            "software.amazon.awssdk:apache-client:2.54.17",
            "software.amazon.awssdk:s3-transfer-manager:2.54.17",
        ),
        description="Added where checkpoints, or a lake in Delta, are on S3: Hadoop's client of "
        "it, which finds the AWS client in Iceberg's bundle; the last two are what that lacks, of "
        "the same version.",
    )
    driver_host: str | None = Field(
        default=None,
        description="Where executors find the driver, of a master that is not local; by default "
        "the name of the machine.",
    )
    archive: str | None = Field(
        default=None,
        description="What `make dist` built, as a path or an address: carried to the executors of "
        "a master that is not local.",
    )
    connect_host: str = Field(
        default="127.0.0.1", description="Where `streaming/connect.py` listens."
    )
    connect_port: int = 15002
    extra: dict[str, str] = Field(default_factory=dict)


class StreamSettings(Frozen):
    """What every stream shares (`streaming/runner.py`)."""

    source: Literal["kafka", "memory"] = Field(
        default="kafka", description="memory: the log in <var>/memory, for tests and trials."
    )
    trigger_seconds: float = Field(
        default=0.25,
        ge=0,
        description="Between two micro-batches of orders at least; other feeds take multiples.",
    )
    settle_seconds: float = Field(
        default=10.0,
        gt=0,
        description="How often gold tables are copied and the conversion rate is computed.",
    )
    copy_seconds: float = Field(
        default=0.25, gt=0, description="The same of footfall by minute, which people wait for."
    )
    niceness: int = Field(
        default=5,
        ge=0,
        le=19,
        description="Of `storelake run`, as of nice(1): where cores are few, cameras, tills and "
        "brokers go first, since a stream catches up and a camera does not.",
    )
    max_rows_per_batch: int = Field(default=20_000, ge=1)
    max_bytes_per_batch: int = Field(
        default=32 * 1024 * 1024,
        ge=1,
        description="Keys, values and headers of a micro-batch; a larger message is one of its "
        "own. The memory of `storelake run` follows it.",
    )
    prefetch_rows: int = Field(
        default=2_000,
        ge=0,
        description="Up to so many waiting rows are read by the driver, without a task.",
    )
    read_tasks: int = Field(default=2, ge=1)
    detections_from: tuple[Literal["kafka", "pulsar"], ...] = Field(
        default=("kafka",),
        min_length=1,
        description="The brokers that cameras publish to; both are read when both are named.",
    )
    on_data_loss: Literal["fail", "continue"] = Field(
        default="fail",
        description="When a broker deleted events before they were read, or a topic was deleted "
        "and made again: refuse, or go on with what is there, a new topic from its start.",
    )
    checkpoints: str | None = Field(
        default=None,
        pattern=r"^s3://[a-z0-9]",
        description="s3://BUCKET/PREFIX for executors on other machines; by default "
        "<var>/checkpoints.",
    )
    watermark: timedelta = timedelta(minutes=5)
    allowed_lateness: timedelta = timedelta(hours=1)
    max_future_skew: timedelta = timedelta(minutes=10)
    track_ttl: timedelta = timedelta(minutes=10)
    track_confirm_frames: int = Field(
        default=2, ge=1, description="In a row on a side of a line or in a zone, until it counts."
    )
    track_handover: timedelta = Field(
        default=timedelta(seconds=1),
        description="A track that starts where another has just vanished takes its place.",
    )
    zone_grace: timedelta = Field(
        default=timedelta(seconds=2), description="Unseen in a zone for longer, a visit is over."
    )
    frame_delay: timedelta = Field(
        default=timedelta(seconds=1), description="How long a frame waits for missing ones."
    )
    status_stuck_after: timedelta = Field(
        default=timedelta(hours=24),
        description="An order that has not ended and has not changed for so long is stuck.",
    )
    status_session_gap: timedelta = Field(
        default=timedelta(minutes=30),
        description="Changes of an order with less than this between them are one session.",
    )
    status_keep_terminal: timedelta = Field(
        default=timedelta(hours=24),
        description="How long the tracker remembers an order that has ended.",
    )
    status_keep_stuck: timedelta = Field(
        default=timedelta(days=7),
        description="How long the tracker remembers an order after the alarm that it is stuck.",
    )
    retries: int = Field(
        default=8,
        ge=0,
        description="In a row: with these pauses an outage of a minute is outlived.",
    )
    retry_base_seconds: float = Field(default=0.5, gt=0)
    retry_max_seconds: float = Field(default=15.0, gt=0)
    failed_retry_seconds: float = Field(
        default=60.0,
        gt=0,
        description="A stream that failed more often is `failed`; it is tried again this often, "
        "so that it goes on by itself once the cause is gone.",
    )
    stalled_after: float = Field(
        default=60.0,
        gt=0,
        description="Seconds: a stream whose batch or interval task takes longer is `stalled`.",
    )
    lease_seconds: float = Field(
        default=15.0,
        ge=1,
        le=15,
        description="A stream is free for another application once its owner has not renewed the "
        "lease for so long; it renews five times as often.",
    )
    take_over: bool = Field(
        default=False,
        description="Take streams over that another application holds; that one is fenced and "
        "ends. The same as `storelake run --take-over`.",
    )
    ledger_keep: timedelta = Field(
        default=timedelta(days=7), description="How long `stream_batches` keeps a batch."
    )
    metrics_port: int = Field(
        default=18083, ge=0, description="Prometheus, at `metrics_host`; 0: none."
    )

    @property
    def lease_duration(self) -> timedelta:
        """`lease_seconds`."""
        return timedelta(seconds=self.lease_seconds)


class MaintenanceSettings(Frozen):
    """How tables are kept fit for reading (`storelake maintain`)."""

    metrics_port: int = Field(
        default=18084, ge=0, description="Prometheus, with `--every`, at `metrics_host`; 0: none."
    )


class RetentionSettings(Frozen):
    """How long rows about single people stay (`storelake retention apply`)."""

    detections: timedelta = Field(
        default=timedelta(days=30), description="Detections, crossings and visits."
    )


class QualitySettings(Frozen):
    """How the layers are validated (`storelake quality`)."""

    spark_above_rows: int = Field(
        default=500_000, ge=1, description="New rows of one table, from which on Spark judges them."
    )
    results_keep: timedelta = Field(
        default=timedelta(days=1), description="How long Postgres has results; the lake has all."
    )
    metrics_port: int = Field(
        default=18082, ge=0, description="Prometheus, with `--every`, at `metrics_host`; 0: none."
    )
    lookback: timedelta = Field(
        default=timedelta(hours=1), description="Sums are compared at least so far back."
    )
    reach: timedelta = Field(
        default=timedelta(days=1), description="Messages are accounted for at most so far back."
    )
    history: timedelta = Field(
        default=timedelta(days=28), description="What an hour is compared with, to be an anomaly."
    )
    camera_silent: timedelta = Field(
        default=timedelta(minutes=10),
        description="A camera without a frame for so long, while its branch is open, is stale.",
    )
    stream_behind: timedelta = Field(
        default=timedelta(minutes=10),
        description="A stream that has left messages waiting for so long is behind.",
    )
    quarantined_share: float = Field(
        default=0.1, gt=0, le=1, description="Of an hour's messages; more is a warning."
    )
    late_share: float = Field(
        default=0.1, gt=0, le=1, description="Of an hour's accepted events; more is a warning."
    )


class GatewaySettings(Frozen):
    """The HTTP door of the tills and the web shop."""

    host: str = "127.0.0.1"
    port: int = 18080
    max_body_bytes: int = Field(default=256 * 1024, ge=1, description="Of one event.")
    max_batch_events: int = Field(default=500, ge=1, description="In one request.")
    max_batch_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1, description="Of the body of one batch."
    )
    remembered_ids: int = Field(
        default=100_000,
        ge=0,
        description="So many of the last event ids are answered without producing again; "
        "each takes about 350 bytes.",
    )
    events_per_second: float = Field(
        default=20_000,
        gt=0,
        description="Of one client, over time; beyond it and the burst the answer is 429.",
    )
    burst_events: int = Field(
        default=40_000, ge=1, description="So many may come at once, after a pause."
    )
    ack_timeout_seconds: float = 5.0
    retry_after_seconds: int = 2

    @model_validator(mode="after")
    def _batches_fit_the_burst(self) -> GatewaySettings:
        if self.burst_events < self.max_batch_events:
            raise ValueError("burst_events is below max_batch_events: no full batch would pass")
        return self


class KeeperSettings(Frozen):
    """How the processes that `storelake up` starts are kept running (docs/RUNNING.md)."""

    restart_base_seconds: float = Field(
        default=1.0, gt=0, description="Until a process that died starts again; then twice as long."
    )
    restart_max_seconds: float = Field(default=60.0, gt=0, description="At most so long.")
    give_up_after: int = Field(
        default=5, ge=1, description="Early deaths in a row, until nobody tries any more."
    )
    steady_seconds: float = Field(
        default=60.0, gt=0, description="A process that lived so long did not die early."
    )
    stop_seconds: float = Field(
        default=60.0, gt=0, description="For a process to end what it is doing; then it is killed."
    )
    silent_seconds: float = Field(
        default=60.0,
        gt=0,
        description="A service that has answered and then does not for so long is killed and "
        "started again: long beside any pause of a busy machine. Ten times as long before its "
        "first answer.",
    )
    quality_every: timedelta = Field(
        default=timedelta(minutes=1), description="Between two runs of the validation."
    )
    maintain_every: timedelta = Field(
        default=timedelta(minutes=2), description="Between two runs of the maintenance."
    )


class InferenceSettings(Frozen):
    """The camera side: what reads, detects, tracks and publishes."""

    sources: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Camera id -> address, file or webcam, over the store file; an address may "
        "carry a password here, and only here.",
    )
    detector: Literal["yolo", "onnx", "hog", "motion"] = "motion"
    weights: Path | None = Field(
        default=None,
        description="Model of `yolo` (.pt, .onnx, .engine) and `onnx`; by default the small one "
        "that ships, which knows drawn shops only.",
    )
    person_class: str = Field(
        default="person",
        description="What the model calls a person: a name, or the number of the class.",
    )
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda:\d+)$", description="auto, cpu or cuda:N."
    )
    image_size: int = Field(
        default=320,
        ge=32,
        multiple_of=32,
        description="Longer side in pixels that a model sees, unless it has a size of its own.",
    )
    threads: int = Field(default=0, ge=0, description="Of `onnx`; 0: one for each core.")
    tracker: Literal["bytetrack", "botsort", "deepsort"] = "bytetrack"
    track_confidence: float = Field(
        default=0.5, ge=0, le=1, description="A box at least this sure begins a track."
    )
    lost_seconds: float = Field(
        default=2.0, gt=0, description="So long a track waits for its person to come back."
    )
    publisher: Literal["kafka", "pulsar", "ndjson"] = "kafka"
    buffer_events: int = Field(
        default=2_000, ge=1, description="Events in memory that no broker has acknowledged."
    )
    spool_events: int = Field(
        default=200_000,
        ge=0,
        description="Events on disk, of one publisher, while the broker is away; then it waits.",
    )
    hog_upscale: float = Field(default=1.5, gt=0)
    min_confidence: float = Field(default=0.3, ge=0, le=1)
    every_nth: int = Field(default=1, ge=1, description="Only every Nth frame is processed.")
    reconnect_base_seconds: float = Field(default=0.5, gt=0)
    reconnect_max_seconds: float = Field(default=30.0, gt=0)
    read_timeout_seconds: float = Field(
        default=5.0, gt=0, description="A camera that sends nothing for so long is opened anew."
    )
    queue_frames: int = Field(
        default=16, ge=1, description="Decoded frames of a file that wait; of a camera: one."
    )
    metrics_port: int = Field(
        default=18081, ge=0, description="Prometheus, at `metrics_host`; 0: none."
    )


class ConsoleSettings(Frozen):
    """The live console in the browser (`storelake console`); it only reads."""

    host: str = Field(
        default="127.0.0.1",
        description="It asks nobody for a password: keep it on loopback, or put a proxy before it.",
    )
    port: int = 8600
    refresh_seconds: float = Field(
        default=2.0, gt=0, description="Between two looks at the database, while somebody watches."
    )
    query_timeout: timedelta = Field(
        default=timedelta(seconds=3),
        description="Of the database; a question that takes longer ends.",
    )
    stale_after: timedelta = Field(
        default=timedelta(minutes=2),
        description="A camera of an open branch without a frame for so long is called silent, and "
        "a stream's word of so long ago is called old.",
    )
    user: str = Field(
        default="storelake_console",
        description="The role of Postgres that may read what the console shows, and nothing else.",
    )
    password: SecretStr | None = None

    @field_validator("password")
    @classmethod
    def _no_placeholder(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().lower() in PLACEHOLDERS:
            raise ValueError("STORELAKE_CONSOLE__PASSWORD is a placeholder; set a real password")
        return value

    @property
    def secret(self) -> str:
        """The password, or `SettingsError` with the name of the variable to set."""
        if self.password is None:
            raise SettingsError(
                "STORELAKE_CONSOLE__PASSWORD is not set: run `storelake restart`, which makes one "
                "for the local server, or set that of the role on yours (docs/CONSOLE.md)."
            )
        return self.password.get_secret_value()

    @property
    def url(self) -> str:
        """Where the console answers."""
        return f"http://{self.host}:{self.port}"


class Settings(BaseSettings):
    """The whole tree. Build it with `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix="STORELAKE_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
        frozen=True,
        extra="ignore",
    )

    profile: str = "local"
    var_dir: Path = Path("var")
    cache_dir: Path = Path("~/.cache/storelake")
    stores_file: Path = CONF_DIR / "stores" / "demo.toml"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    metrics_host: str = Field(
        default="127.0.0.1",
        description="Where streams, cameras, validation and maintenance answer Prometheus; the "
        "gateway does it where it listens.",
    )
    java_home: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("STORELAKE_JAVA_HOME", "JAVA_HOME", "java_home"),
        description="The Java (17 or newer) of Kafka and Pulsar; without it, the one on the PATH.",
    )
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
    gateway: GatewaySettings = GatewaySettings()
    keeper: KeeperSettings = KeeperSettings()
    inference: InferenceSettings = InferenceSettings()
    console: ConsoleSettings = ConsoleSettings()

    @field_validator("var_dir", "cache_dir", "stores_file")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def warehouse(self) -> str:
        """Where the tables of the lake are: a URI. A folder has tables of one format only."""
        folder = "delta" if self.catalog.format == "delta" else "warehouse"
        return self.catalog.warehouse or f"file://{self.var_dir}/{folder}"

    @property
    def bucket(self) -> str | None:
        """Of a warehouse on S3; None on a disk."""
        parts = urlsplit(self.warehouse)
        return parts.netloc if parts.scheme == "s3" else None

    @property
    def wants_minio(self) -> bool:
        """Whether MinIO belongs to this house: the warehouse is on S3, and on nobody else's."""
        return self.bucket is not None and self.s3.endpoint is None

    @property
    def checkpoints(self) -> Path:
        """Where Spark keeps offsets, commits and state on a disk, one folder a query.

        Each table format has its own: a lake that is made anew in the other one is filled from the
        start of the topics, and the sinks that have the rows skip them.
        """
        folder = self.var_dir / "checkpoints"
        return folder / "delta" if self.catalog.format == "delta" else folder

    def checkpoint(self, query: str) -> str:
        """The folder of one query as Hadoop calls it; `s3a` is its client of S3."""
        place = self.streams.checkpoints
        if place is None:
            return f"file://{self.checkpoints / query}"
        folder = "/delta" if self.catalog.format == "delta" else ""
        return f"s3a{place.removeprefix('s3').rstrip('/')}{folder}/{query}"

    @property
    def wants_pulsar(self) -> bool:
        """Whether Pulsar belongs to this house: asked for, read from, or published to."""
        return (
            self.pulsar.enabled
            or "pulsar" in self.streams.detections_from
            or self.inference.publisher == "pulsar"
        )

    @property
    def console_dsn(self) -> str:
        """The way into the database for the console, with its own role."""
        secret = SecretStr(self.console.secret)
        mine = {"user": self.console.user, "password": secret}
        return self.postgres.model_copy(update=mine).dsn

    @property
    def spool(self) -> Path:
        """Where publishers keep events while a broker is away, one folder each."""
        return self.var_dir / "spool"

    @property
    def secrets_file(self) -> Path:
        """Where `storelake up` keeps the secrets that it made (mode 0600)."""
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
        """Environment over .env over generated secrets over the profile."""
        written = getattr(dotenv_settings, "env_vars", {})  # by lower-case name
        profile = os.environ.get("STORELAKE_PROFILE") or written.get("storelake_profile") or "local"
        profile_file = CONF_DIR / "profiles" / f"{profile}.toml"
        if not profile_file.is_file():
            known = ", ".join(sorted(p.stem for p in profile_file.parent.glob("*.toml")))
            raise SettingsError(f"STORELAKE_PROFILE={profile!r} is unknown; known: {known}")
        toml = TomlConfigSettingsSource(settings_cls, toml_file=profile_file)
        var_dir = Path(
            init_settings().get("var_dir")
            or os.environ.get("STORELAKE_VAR_DIR")
            or written.get("storelake_var_dir")
            or toml().get("var_dir", "var")
        )
        secrets_file = var_dir.expanduser() / "secrets.env"
        require_readable(secrets_file)
        secrets = DotEnvSettingsSource(settings_cls, env_file=secrets_file)
        return init_settings, env_settings, dotenv_settings, secrets, toml


def require_readable(file: Path) -> None:
    """Refuse a file of variables that cannot be read whole: its parser would leave lines out.

    Raises:
        SettingsError: names the file, and the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SettingsError(
            f"{file} cannot be read ({reason}): mend it, or move it away."
        ) from error
    for line in parse_stream(StringIO(text)):
        if line.error or (line.key is not None and line.value is None):
            # The parser counts empty lines to what follows them.
            said = line.original.string
            number = line.original.line + said[: len(said) - len(said.lstrip())].count("\n")
            raise SettingsError(
                f"{file}, line {number} is not NAME=VALUE: mend it, or put a # before "
                "it; a value with spaces or # needs quotes."
            )


def is_submitted() -> bool:
    """Whether `spark-submit` started this process, and before it the JVM."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def choose_profile(name: str) -> None:
    """What STORELAKE_PROFILE says from now on, for this process and for those that it starts."""
    os.environ["STORELAKE_PROFILE"] = name


def load_settings(**overrides: Any) -> Settings:
    """Read every source once and return the frozen tree.

    Args:
        **overrides: top-level branches that win over everything (for tests and the CLI).

    Raises:
        SettingsError: an unknown profile, a `.env` that is no list of variables, or a value that
            does not fit, named with its path.
    """
    require_readable(Path(".env"))
    try:
        return Settings(_env_file=".env", **overrides)
    except UnreadableError as error:  # lists and tables
        raise SettingsError(
            f"settings do not fit: {error}; lists and tables are written as JSON, such as "
            """'["kafka"]'."""
        ) from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()
        )
        raise SettingsError(f"settings do not fit: {faults}") from error
