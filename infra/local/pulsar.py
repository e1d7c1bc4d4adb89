"""Apache Pulsar on this machine: broker, bookie and metadata in one process, on loopback."""

# ruff: noqa: PLC0415 - httpx is slow, and few deployments have Pulsar
from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from conf.settings import Principal, PulsarSettings, SettingsError
from infra.errors import ServiceError
from infra.local.checks import Java
from infra.local.jars import PULSAR
from infra.local.jvm import LOGGING, JavaService, certificates, jvm, server_options
from infra.local.state_files import write_text

if TYPE_CHECKING:
    import httpx

RETENTION = {"retentionTimeInMinutes": 7 * 24 * 60, "retentionSizeInMB": 1024}

# Without `listeningInterface` the bookie listens everywhere; its port is chosen by the system.
# A topic is made on purpose: a reader of a misspelt one would wait for ever. A record is on disk
# when the system writes its page cache back, which outlives a killed broker, as with our Kafka.
# By default a bookie takes no more writes on a disk that is 95 % full, which a large one is with
# 12 GB to spare.
CONFIGURATION = """\
clusterName=standalone
{ports}
bindAddress={host}
advertisedAddress={host}
listeningInterface=lo
allowLoopback=true
allowAutoTopicCreation=false
brokerDeleteInactiveTopicsEnabled=false
defaultNumberOfNamespaceBundles=1
loadBalancerEnabled=false
webSocketServiceEnabled=false
journalSyncData=false
diskUsageThreshold=0.995
diskUsageWarnThreshold=0.99
diskUsageLwmThreshold=0.99
managedLedgerDefaultEnsembleSize=1
managedLedgerDefaultWriteQuorum=1
managedLedgerDefaultAckQuorum=1
managedLedgerCacheSizeMB=32
ledgerStorageClass=org.apache.bookkeeper.bookie.storage.ldb.DbLedgerStorage
dbStorage_writeCacheMaxSizeMb=16
dbStorage_readAheadCacheMaxSizeMb=16
dbStorage_rocksDB_blockCacheSize=8388608
numIOThreads=2
numHttpServerThreads=8
numExecutorThreadPoolSize=2
numCacheExecutorThreadPoolSize=2
numOrderedExecutorThreads=2
topicOrderedExecutorThreadNum=2
managedLedgerNumSchedulerThreads=2
bookkeeperClientNumWorkerThreads=2
bookkeeperClientNumIoThreads=2
"""

PLAIN_PORTS = """\
brokerServicePort={port}
webServicePort={admin_port}"""
TLS_PORTS = """\
brokerServicePort=
brokerServicePortTls={port}
webServicePort=
webServicePortTls={admin_port}
tlsCertificateFilePath={tls}/server.crt
tlsKeyFilePath={tls}/server.key
tlsTrustCertsFilePath={tls}/ca.pem
brokerClientTlsEnabled=true
brokerClientTrustCertsFilePath={tls}/ca.pem"""
# Its own connections are of the admin.
ACCESS = """\
authenticationEnabled=true
authenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken
tokenSecretKey=file://{key}
authenticateMetricsEndpoint=true
authorizationEnabled=true
superUserRoles=admin
brokerClientAuthenticationPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken
brokerClientAuthenticationParameters=token:{token}
"""
GRANTS: Mapping[Principal, Sequence[str]] = {"cameras": ["produce"], "streams": ["consume"]}
"""User -> rights on the namespace of the detections."""

# What its own start script opens to Netty and BookKeeper.
OPENED = (
    "java.base/java.io",
    "java.base/java.nio",
    "java.base/java.util.zip",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.platform",
    "java.management/sun.management",
    "jdk.management/com.sun.management.internal",
)


class PulsarService(JavaService[PulsarSettings]):
    """The standalone broker; state below `<var>/pulsar`."""

    name = branch = "pulsar"
    bundle = PULSAR
    ports = (("port", "Pulsar"), ("admin_port", "Pulsar's administration"))
    elsewhere = "service_url"
    clients_use = "url"

    def configure(self) -> None:
        """Write the configuration; only its owner can read it, as it has a token."""
        conf = self.conf
        ports = TLS_PORTS if conf.local_tls else PLAIN_PORTS
        tls = certificates(self.settings, conf)
        lines = ports.format(port=conf.port, admin_port=conf.admin_port, tls=tls)
        text = CONFIGURATION.format(host=conf.host, ports=lines)
        more = "".join(f"{key}={value}\n" for key, value in conf.broker_options.items())
        write_text(self.folder / "standalone.conf", text + self._access() + more)
        (self.folder / "log4j2.properties").write_text(LOGGING)

    def _access(self) -> str:
        """Lines of the configuration: who may connect."""
        if self.conf.security == "plaintext":
            return ""
        key = self.folder / "token.key"
        write_text(key, self.conf.token_key.decode())
        return ACCESS.format(key=key, token=self.conf.token_of("admin"))

    def command(self, java: Java, jars: Path) -> list[str]:
        """The command line of the broker."""
        unsafe = ["--sun-misc-unsafe-memory-access=allow"] if java.release >= 23 else []
        return [
            *jvm(java, jars, self.folder),
            *server_options(java, jars, self.folder, self.conf.heap_mb),
            f"-XX:MaxDirectMemorySize={self.conf.heap_mb}m",
            "-Djava.net.preferIPv4Stack=true",
            "-Dio.netty.tryReflectionSetAccessible=true",
            *(part for name in OPENED for part in ("--add-opens", f"{name}=ALL-UNNAMED")),
            *unsafe,
            "org.apache.pulsar.PulsarStandaloneStarter",
            *("--config", str(self.folder / "standalone.conf")),
            *("--bookkeeper-dir", str(self.folder / "data" / "bookkeeper")),
            *("--metadata-dir", str(self.folder / "data" / "metadata")),
            *("-a", self.conf.host),
            "-nfw",  # no functions
            "-nss",  # no stream storage
        ]

    def serves(self) -> bool:
        """Whether it is healthy by its own check, which writes and reads."""
        return not self.complaint()

    def complaint(self) -> str:
        """Why its own check of its health does not pass; empty if it does."""
        import httpx

        try:
            with _administration(self.conf, 2.0) as admin:
                response = admin.get("/brokers/health")
        except SettingsError as error:
            return f"refuses its clients: {error}"
        except httpx.HTTPError:
            return "does not answer"
        if response.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return "refuses its clients: the token is not valid, see STORELAKE_PULSAR__TOKEN"
        return "" if response.text == "ok" else "does not answer"


def _administration(conf: PulsarSettings, seconds: float) -> httpx.Client:
    import httpx

    token = conf.token_of("admin")
    return httpx.Client(
        base_url=f"{conf.admin}/admin/v2",
        headers={"Authorization": f"Bearer {token}"} if token else {},
        verify=str(conf.tls_ca_file) if conf.tls_ca_file else True,
        timeout=seconds,
    )


def ensure_pulsar_topic(conf: PulsarSettings) -> bool:
    """Create the topic of the detections with its tenant and namespace, where they are missing.

    On the local broker, cameras may produce to it, and streams consume.

    A namespace that this makes keeps messages for a week, also those that everybody has read, so
    that streams can be built again; without that, Pulsar deletes what no subscription waits for.

    Returns:
        Whether the topic was created.

    Raises:
        ServiceError: the cluster does not answer, or refuses.
    """
    import httpx

    tenant, namespace, topic = conf.detections.removeprefix("persistent://").split("/")
    with _administration(conf, 30.0) as admin:
        try:
            if admin.get(f"/tenants/{tenant}").status_code == HTTPStatus.NOT_FOUND:
                clusters = admin.get("/clusters").json()
                _create(admin, f"/tenants/{tenant}", {"allowedClusters": clusters})
            _create(admin, f"/namespaces/{tenant}/{namespace}", {"retention_policies": RETENTION})
            if conf.service_url is None and conf.security != "plaintext":
                for user, rights in GRANTS.items():
                    path = f"/namespaces/{tenant}/{namespace}/permissions/{user}"
                    admin.post(path, json=rights).raise_for_status()
            place = f"/persistent/{tenant}/{namespace}/{topic}/partitions"
            return _create(admin, place, conf.partitions)
        except (httpx.HTTPError, ValueError) as error:
            raise ServiceError(
                f"Pulsar at {conf.admin} did not give the topic {conf.detections} ({error}): check "
                "that it runs and that its access rules allow creating topics."
            ) from error


def _create(admin: httpx.Client, path: str, body: object) -> bool:
    answer = admin.put(path, json=body)
    if answer.status_code == HTTPStatus.CONFLICT:  # it is there, perhaps since a moment ago
        return False
    answer.raise_for_status()
    return True
