"""Settings of Postgres, the object store and the catalog of the lake."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal, get_args
from urllib.parse import quote, urlencode

from pydantic import Field, SecretStr, model_validator

from conf.settings.base import Frozen, Port, Secret, http_url, required

SERVER_BOUNDS = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "tcp_keepalives_idle": 10,
        "tcp_keepalives_interval": 5,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    }.items()
)
"""The same at the server's end, whose default is hours: it keeps the locks of a transaction until
it finds that the client is gone.
https://www.postgresql.org/docs/18/runtime-config-connection.html#RUNTIME-CONFIG-TCP-SETTINGS"""

LIBPQ_BOUNDS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "options": SERVER_BOUNDS,
}
"""Seconds, `tcp_user_timeout` milliseconds: a broken connection is found within half a minute.
https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-KEEPALIVES"""


PostgresRole = Literal["owner", "writer", "reader", "quality", "gateway", "steward"]
ROLES: tuple[PostgresRole, ...] = get_args(PostgresRole)


def _name(field: str, role: PostgresRole) -> str:
    return field if role == "owner" else f"{role}_{field}"


class PostgresSettings(Frozen):
    """The serving database, which also has the Iceberg catalog."""

    host: str = "127.0.0.1"
    """Address of the server."""
    port: Port = 15432
    """Port of the server."""
    database: str = "storelake"
    """Name of the database."""
    role: PostgresRole = "writer"
    """Whose name and password a connection has; most commands choose it themselves."""
    user: str = "storelake"
    """Role that owns the tables: only for `up`, `prepare`, `migrate` and `keys`."""
    password: Secret | None = None
    """Its password; `storelake up` generates all passwords of the local server."""
    writer_user: str = "storelake_writer"
    """Role of streams and maintenance: it reads and writes rows, and changes no table."""
    writer_password: Secret | None = None
    """Its password."""
    reader_user: str = "storelake_reader"
    """Role of queries and notebooks: it only reads."""
    reader_password: Secret | None = None
    """Its password."""
    quality_user: str = "storelake_quality"
    """Role of validation: it reads all data, and writes results and tags."""
    quality_password: Secret | None = None
    """Its password."""
    gateway_user: str = "storelake_gateway"
    """Role of the gateway: it reads its keys."""
    gateway_password: Secret | None = None
    """Its password."""
    steward_user: str = "storelake_steward"
    """Role of `dlq` and of the console's operators: it reads, edits and redrives dead letters."""
    steward_password: Secret | None = None
    """Its password."""
    pool_size: int = Field(default=4, ge=1)
    """Connections of one process at most."""
    local: bool = True
    """Whether `storelake up` starts and stops the server; false for an existing server."""

    @property
    def login(self) -> str:
        """Name of the current role."""
        return self.user_of(self.role)

    def user_of(self, role: PostgresRole) -> str:
        """Name of a role on the server."""
        return str(getattr(self, _name("user", role)))

    @property
    def secret(self) -> str:
        """Password of the current role; that of the owner where both have one name.

        Raises:
            SettingsError: it is not set.
        """
        return required(
            self.password_of(self.role),
            f"STORELAKE_POSTGRES__{_name('password', self.role).upper()}",
            "run `storelake up`, which generates one for the local server, or set that of your "
            "server.",
        )

    def acting_as(self, role: PostgresRole) -> PostgresSettings:
        """The settings of a connection as this role, without the passwords of all others."""
        others = {_name("password", one): None for one in ROLES}
        return self.model_copy(
            update={**others, "role": role, _name("password", role): self.password_of(role)}
        )

    def password_of(self, role: PostgresRole) -> SecretStr | None:
        """Its password, which is that of the owner where both have one name; None: not set."""
        own: SecretStr | None = getattr(self, _name("password", role))
        return (self.password or own) if self.user_of(role) == self.user else own

    @property
    def dsn(self) -> str:
        """A libpq connection string with the password, for psycopg."""
        # Quoting: https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNSTRING
        password = self.secret.replace("\\", "\\\\").replace("'", "\\'")
        bounds = " ".join(f"{name}='{value}'" for name, value in LIBPQ_BOUNDS.items())
        return (
            f"host={self.host} port={self.port} dbname={self.database} user={self.login} "
            f"password='{password}' {bounds}"
        )

    @property
    def jdbc_url(self) -> str:
        """The JDBC address, without credentials."""
        bounds = "connectTimeout=10&loginTimeout=10&socketTimeout=60&tcpKeepAlive=true"
        options = quote(SERVER_BOUNDS)
        return (
            f"jdbc:postgresql://{self.host}:{self.port}/{self.database}?{bounds}&options={options}"
        )

    @property
    def sqlalchemy_url(self) -> str:
        """The SQLAlchemy address with the password, for PyIceberg's SqlCatalog."""
        password = quote(self.secret, safe="")
        return (
            f"postgresql+psycopg://{self.login}:{password}@{self.host}:{self.port}/{self.database}"
            f"?{urlencode(LIBPQ_BOUNDS, quote_via=quote)}"
        )


class S3Settings(Frozen):
    """The object store of a warehouse on S3; by default MinIO on this machine (docs/STORAGE.md)."""

    host: str = "127.0.0.1"
    """Address of the local MinIO."""
    port: Port = 19000
    """Port of the local MinIO."""
    endpoint: str | None = None
    """Address of an existing S3; by default the local MinIO at host:port."""
    region: str = "us-east-1"
    """Region of the bucket: AWS rejects requests signed for another one."""
    path_style: bool = True
    """Whether the bucket is in the path of an address instead of its host name; false for AWS."""
    access_key: Secret | None = None
    """Access key id; `storelake up` generates one for the local MinIO."""
    secret_key: Secret | None = None
    """Secret access key; `storelake up` generates one for the local MinIO."""
    reader_access_key: Secret | None = None
    """Access key id of queries, notebooks and Trino, which may be denied all writes; by default
    they share the other one."""
    reader_secret_key: Secret | None = None
    """Secret access key of queries, notebooks and Trino."""
    create_bucket: bool = True
    """Whether `storelake up` creates a missing bucket."""

    @model_validator(mode="after")
    def _require_a_pair(self) -> S3Settings:
        if (self.reader_access_key is None) != (self.reader_secret_key is None):
            raise ValueError("reader_access_key and reader_secret_key are a pair: set both")
        return self

    def acting_as_reader(self) -> S3Settings:
        """With the reader's keys in place of the others, if it has some."""
        if self.reader_access_key is None:
            return self
        keys = {"access_key": self.reader_access_key, "secret_key": self.reader_secret_key}
        return self.model_copy(update=keys)

    @property
    def url(self) -> str:
        """The address for clients."""
        return self.endpoint or http_url(self.host, self.port)

    @property
    def access(self) -> str:
        """The access key id.

        Raises:
            SettingsError: it is not set.
        """
        return self._required("ACCESS_KEY", self.access_key)

    @property
    def secret(self) -> str:
        """The secret access key.

        Raises:
            SettingsError: it is not set.
        """
        return self._required("SECRET_KEY", self.secret_key)

    @staticmethod
    def _required(name: str, value: SecretStr | None) -> str:
        return required(
            value,
            f"STORELAKE_S3__{name}",
            "run `storelake up`, which generates the keys of the local MinIO, or set that of your "
            "S3.",
        )


class CatalogSettings(Frozen):
    """The table format, the Iceberg catalog (in Postgres, or a REST service) and the warehouse."""

    format: Literal["iceberg", "delta"] = "iceberg"
    """Format of all tables of the lake; docs/FORMATS.md compares them."""
    name: str = "storelake"
    """Name of the catalog in SQL."""
    type: Literal["jdbc", "rest"] = "jdbc"
    """jdbc: a catalog in Postgres; rest: the service at `uri`."""
    uri: str | None = Field(default=None, pattern="^https?://")
    """Address of the REST catalog: http:// or https://."""
    token: SecretStr | None = None
    """Bearer token of a REST catalog with authentication."""
    credential: SecretStr | None = None
    """ID:SECRET, which a REST catalog exchanges for a token (OAuth2)."""
    warehouse: str | None = None
    """file:///FOLDER or s3://BUCKET/PREFIX, or the name of a warehouse in a REST catalog; by
    default <var>/warehouse, and <var>/delta for Delta."""
    views: bool = True
    """Whether streams create the views for analysts in the catalog when they start."""
    snapshot_retention: timedelta = timedelta(minutes=10)
    """Age at which a snapshot without a tag expires."""

    @model_validator(mode="after")
    def _require_an_address(self) -> CatalogSettings:
        if (self.type == "rest") != (self.uri is not None):
            raise ValueError("a catalog of type rest, and no other, needs a uri: set both")
        known = re.match(r"file:///|s3://[a-z0-9]", self.warehouse or "file:///")
        if self.type == "jdbc" and not known:
            raise ValueError(f"{self.warehouse!r} is neither file:///FOLDER nor s3://BUCKET/PREFIX")
        return self
