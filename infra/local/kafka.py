"""Apache Kafka on this machine: one broker that is its own controller, on loopback."""

from __future__ import annotations

import logging
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from conf.kafka import client_config
from conf.settings import KafkaSettings
from infra.local.checks import Java
from infra.local.jars import KAFKA
from infra.local.jvm import LOGGING, JavaService, jvm, server_options
from infra.local.tool import run_tool

# A killed broker may come back only when its old session has run out: 5 s instead of Kafka's 9 s,
# yet long enough for the pauses of a busy machine.
SESSION_MS = 5000
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
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
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
        """Write the configuration."""
        conf = self.conf
        text = SERVER_PROPERTIES.format(
            host=conf.host,
            port=conf.port,
            controller_port=conf.controller_port,
            partitions=conf.partitions,
            data=self.folder / "data",
            session_ms=SESSION_MS,
        )
        (self.folder / "server.properties").write_text(text)
        (self.folder / "log4j2.properties").write_text(LOGGING + VERSION_LOGGING)

    def prepare(self, java: Java, jars: Path) -> None:
        """Format the data folder the first time."""
        if not (self.folder / "data" / "meta.properties").is_file():
            self.report("kafka: formatting its data folder")
            run_tool(self.format_command(java, jars), "Formatting Kafka's data folder", self.cancel)

    def command(self, java: Java, jars: Path) -> list[str]:
        """The command line of the broker."""
        return [
            *jvm(java, jars, self.folder),
            *server_options(java, jars, self.folder, self.conf.heap_mb),
            "kafka.Kafka",
            str(self.folder / "server.properties"),
        ]

    def format_command(self, java: Java, jars: Path) -> list[str]:
        """The command line that prepares an empty data folder."""
        # The first byte keeps the id from beginning with a dash, which would read as an option.
        cluster = urlsafe_b64encode(b"S" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster]
        return [*jvm(java, jars, self.folder), *tool, "-c", str(self.folder / "server.properties")]

    def serves(self) -> bool:
        """Whether it lists its topics."""
        try:
            client = AdminClient(client_config(self.conf), logger=SILENT)
            return bool(client.list_topics(timeout=2.0).brokers)
        except KafkaException:
            return False
