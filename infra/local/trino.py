"""Trino on this machine: one server that reads the lake of this deployment, on loopback.

It shares the catalog in Postgres with Spark and PyIceberg, and only reads: a table has one writer.
"""

from __future__ import annotations

from pathlib import Path

from conf.settings import TrinoSettings
from infra.local.checks import Java, find_newer_java
from infra.local.jars import TRINO, jars_folder
from infra.local.jvm import JavaService, jvm, server_options
from infra.local.state_files import write_text

LEAST_JAVA = 24

CONFIGURATION = """\
coordinator=true
node-scheduler.include-coordinator=true
node.internal-address={host}
node.bind-ip={host}
http-server.http.port={port}
discovery.uri=http://{host}:{port}
plugin.dir={plugins}
catalog.config-dir={folder}/catalog
# Nobody else may stop it, and a stop waits for queries that run.
shutdown.grace-period=1s
# Few queries run at once: one may take half of the heap; what is larger spills to disk.
query.max-memory-per-node={query_mb}MB
memory.heap-headroom-per-node={headroom_mb}MB
spill-enabled=true
spiller-spill-path={folder}/spill
"""
# The two below warn of each second in which a busy machine lets the server wait for itself.
LOGGING = """\
=WARN
io.trino.memory.RemoteNodeMemory=ERROR
io.trino.metadata.RemoteNodeState=ERROR
"""

CATALOG = """\
connector.name=iceberg
iceberg.security=read_only
"""
JDBC = """\
iceberg.catalog.type=jdbc
iceberg.jdbc-catalog.catalog-name={name}
iceberg.jdbc-catalog.driver-class=org.postgresql.Driver
iceberg.jdbc-catalog.connection-url={url}
iceberg.jdbc-catalog.connection-user={user}
iceberg.jdbc-catalog.connection-password={password}
iceberg.jdbc-catalog.default-warehouse-dir={warehouse}
"""
REST = """\
iceberg.catalog.type=rest
iceberg.rest-catalog.uri={uri}
"""
# Its reader of Hadoop's is a plug-in of its own, 200 MB more; this one takes file:// as well.
LOCAL_FILES = """\
fs.native-local.enabled=true
local.location=/
"""
S3_FILES = """\
fs.native-s3.enabled=true
s3.endpoint={url}
s3.region={region}
s3.path-style-access={path_style}
s3.aws-access-key={access}
s3.aws-secret-key={secret}
"""


class TrinoService(JavaService[TrinoSettings]):
    """Coordinator and worker in one process; state below `<var>/trino`."""

    name = branch = "trino"
    bundle = TRINO
    ports = (("port", "Trino"),)
    elsewhere = "url"
    clients_use = "address"

    def java(self) -> Java:
        """One newer than the rest of the deployment needs."""
        homes = (self.conf.java_home, self.settings.java_home)
        return find_newer_java(homes, LEAST_JAVA, "Trino", "STORELAKE_TRINO__JAVA_HOME")

    def configure(self) -> None:
        """Write the configuration."""
        for name in ("catalog", "data"):
            (self.folder / name).mkdir(exist_ok=True)
        jars = jars_folder(TRINO, self.settings.cache_dir)
        (self.folder / "config.properties").write_text(self.configuration(jars))
        (self.folder / "log.properties").write_text(LOGGING)
        secret = self.folder / "catalog" / f"{self.settings.catalog.name}.properties"
        write_text(secret, self.catalog())

    def configuration(self, jars: Path) -> str:
        """Where it listens and what it may take."""
        return CONFIGURATION.format(
            host=self.conf.host,
            port=self.conf.port,
            plugins=jars / "plugin",
            folder=self.folder,
            query_mb=self.conf.heap_mb // 2,
            headroom_mb=self.conf.heap_mb // 4,
        )

    def catalog(self) -> str:
        """Where the lake is: its catalog, and its files."""
        return CATALOG + self._where_tables_are() + self._where_files_are()

    def _where_tables_are(self) -> str:
        settings = self.settings
        conf, reader = settings.catalog, settings.postgres.acting_as("reader")
        if conf.type == "jdbc":
            return JDBC.format(
                name=conf.name,
                url=settings.postgres.jdbc_url,
                user=reader.login,
                password=reader.secret,
                warehouse=settings.warehouse,
            )
        text = REST.format(uri=conf.uri)
        if conf.warehouse:
            text += f"iceberg.rest-catalog.warehouse={conf.warehouse}\n"
        for name, secret in (("token", conf.token), ("credential", conf.credential)):
            if secret:
                text += "iceberg.rest-catalog.security=OAUTH2\n"
                text += f"iceberg.rest-catalog.oauth2.{name}={secret.get_secret_value()}\n"
        return text

    def _where_files_are(self) -> str:
        if not self.settings.bucket:
            return LOCAL_FILES
        s3 = self.settings.s3.acting_as_reader()
        return S3_FILES.format(
            url=s3.url,
            region=s3.region,
            path_style=str(s3.path_style).lower(),
            access=s3.access,
            secret=s3.secret,
        )

    def command(self, java: Java, jars: Path) -> list[str]:
        """The command line of the server."""
        return [
            *jvm(java, jars, self.folder),
            *server_options(java, jars, self.folder, self.conf.heap_mb),
            "-XX:TieredStopAtLevel=4",  # a query is compiled, and may run for long
            "-Djdk.attach.allowAttachSelf=true",
            "--enable-native-access=ALL-UNNAMED",
            "--sun-misc-unsafe-memory-access=allow",
            "--add-modules=jdk.incubator.vector",
            "-Dfile.encoding=UTF-8",
            "-Duser.timezone=UTC",
            "-Dnode.environment=storelake",
            "-Dnode.id=local",
            f"-Dnode.data-dir={self.folder / 'data'}",
            f"-Dconfig={self.folder / 'config.properties'}",
            f"-Dlog.levels-file={self.folder / 'log.properties'}",
            "io.trino.server.TrinoServer",
        ]

    def serves(self) -> bool:
        """Whether it takes queries: it is past its start."""
        import httpx  # noqa: PLC0415 - slow, and few deployments have Trino

        try:
            info = httpx.get(f"{self.conf.address}/v1/info", timeout=2.0).json()
            return info.get("starting") is False
        except (httpx.HTTPError, ValueError, AttributeError):
            return False
