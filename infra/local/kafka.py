"""Apache Kafka on this machine: one broker that is its own controller, on loopback."""

from __future__ import annotations

import hashlib
import logging
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from conf.kafka import Rejections, client_config, open_client
from conf.settings import KafkaSettings, SettingsError
from infra.errors import ServiceError
from infra.local.checks import Java
from infra.local.jars import KAFKA
from infra.local.jvm import LOGGING, JavaService, certificates, jvm, server_options
from infra.local.kafka_access import server_access, set_password
from infra.local.process import wait_until
from infra.local.state_files import write_text
from infra.local.tool import run_tool

# A killed broker may come back only when its old session has run out: 5 s instead of Kafka's 9 s,
# yet long enough for the pauses of a busy machine.
SESSION_MS = 5000
ADMIN_SECONDS = 60.0
# librdkafka reports each refused connection on stderr; while we poll, that is no news.
SILENT = logging.getLogger("storelake.kafka.probe")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False

# Only this machine writes here, so one copy of everything; a record is on disk when the system
# writes its page cache back, which outlives a killed broker, though not a power cut.
SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=CLIENT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CLIENT:{protocol},CONTROLLER:{controller_protocol}
inter.broker.listener.name=CLIENT
log.dirs={data}
auto.create.topics.enable=false
num.partitions={partitions}
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms={session_ms}
broker.heartbeat.interval.ms=1000
log.retention.hours=168
log.retention.bytes=1073741824
log.segment.bytes=134217728
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
background.threads=2
"""

# Its version, which a log should begin with.
VERSION_LOGGING = """\
logger.server.name = org.apache.kafka.common.utils.AppInfoParser
logger.server.level = INFO
"""


class KafkaService(JavaService[KafkaSettings]):
    """The broker; state below `<var>/kafka`."""

    name = branch = "kafka"
    bundle = KAFKA
    ports = (("port", "Kafka"), ("controller_port", "Kafka's controller"))
    elsewhere = "bootstrap_servers"
    clients_use = "bootstrap"

    def configure(self) -> None:
        """Write the configuration; only its owner can read it, as it has a password."""
        conf = self.conf
        secure = conf.protocol != "plaintext"
        text = SERVER_PROPERTIES.format(
            host=conf.host,
            port=conf.port,
            controller_port=conf.controller_port,
            protocol=conf.protocol.upper(),
            controller_protocol="SASL_PLAINTEXT" if secure else "PLAINTEXT",
            partitions=conf.partitions,
            data=self.folder / "data",
            session_ms=SESSION_MS,
        )
        access = server_access(conf, certificates(self.settings, self.conf)) if secure else ""
        write_text(self.folder / "server.properties", text + access)
        (self.folder / "log4j2.properties").write_text(LOGGING + VERSION_LOGGING)

    def prepare(self, java: Java, jars: Path) -> None:
        """Format the data folder the first time, with the user admin."""
        if not (self.folder / "data" / "meta.properties").is_file():
            self.report("kafka: formatting its data folder")
            run_tool(self.format_command(java, jars), "Formatting Kafka's data folder", self.cancel)
            self._remember_admin()

    def launch(self) -> None:
        """As of every service; and give a data folder of an older release its user admin."""
        super().launch()
        if self._admin_file.is_file() and self._admin_file.read_text() == self._admin_mark():
            return
        if self.conf.protocol != "plaintext":
            self._set_admin()

    def command(self, java: Java, jars: Path) -> list[str]:
        """The command line of the broker."""
        return [
            *jvm(java, jars, self.folder),
            *server_options(java, jars, self.folder, self.conf.heap_mb),
            "kafka.Kafka",
            str(self.folder / "server.properties"),
        ]

    def format_command(self, java: Java, jars: Path) -> list[str]:
        """The command line that prepares an empty data folder; a file has its arguments."""
        # The first byte keeps the id from beginning with a dash, which would read as an option.
        cluster = urlsafe_b64encode(b"S" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        properties = str(self.folder / "server.properties")
        tool = ["format", "--ignore-formatted", "-t", cluster, "-c", properties]
        if self.conf.protocol != "plaintext":
            name, password = self.conf.credentials("admin")
            tool += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        arguments = self.folder / "format.arguments"
        write_text(arguments, "\n".join(tool) + "\n")
        return [*jvm(java, jars, self.folder), "kafka.tools.StorageTool", f"@{arguments}"]

    @property
    def _admin_file(self) -> Path:
        return self.folder / "admin.sha256"

    def _admin_mark(self) -> str:
        """Digest of the password of admin that the data folder has; it is too random to guess."""
        if self.conf.protocol == "plaintext":
            return ""
        return hashlib.sha256(self.conf.credentials("admin")[1].encode()).hexdigest()

    def _remember_admin(self) -> None:
        write_text(self._admin_file, self._admin_mark())

    def _set_admin(self) -> None:
        """Set the password of admin in the cluster's metadata, with that of the configuration.

        Raises:
            ServiceError: the broker does not take it in time.
        """
        self.report("kafka: setting the password of its administrator")
        plain = {"sasl.mechanism": "PLAIN", "log_level": 0}
        client = open_client(AdminClient, client_config(self.conf, "admin") | plain, logger=SILENT)

        def taken() -> bool:
            # PLAIN shows the password to the server, so it must be ours.
            return self.daemon.owns_port(self.conf.port) and set_password(client, self.conf)

        if not wait_until(lambda: self.cancel.is_set() or taken(), ADMIN_SECONDS):
            raise ServiceError(
                "Kafka did not take the password of its administrator: see `storelake logs kafka`."
            )
        self._remember_admin()

    def serves(self) -> bool:
        """Whether it lists its topics."""
        return not self.complaint()

    def complaint(self) -> str:
        """Why it does not list its topics; empty if it does."""
        rejections = Rejections()
        try:
            own = {"error_cb": rejections}
            client = open_client(AdminClient, client_config(self.conf, "admin", own), logger=SILENT)
            return "" if client.list_topics(timeout=2.0).brokers else "has no broker"
        except SettingsError as error:
            return f"refuses its clients: {error}"
        except KafkaException:
            client.poll(0)
            refused = "authentication" in rejections.reason or "SSL" in rejections.reason
            return f"refuses its clients: {rejections.reason}" if refused else "does not answer"
