"""Apache Kafka on this machine: one broker that is its own controller, on loopback."""

from __future__ import annotations

import logging
import shutil
import signal
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from conf.settings import KafkaSettings, Settings
from infra.local.checks import Java, find_java, require_free_port, require_loopback
from infra.local.jars import jars_folder, kafka_jars
from infra.local.process import Daemon, tail
from infra.local.service import Report, ServiceStatus
from infra.local.tool import run_tool

STOP_SECONDS = 20.0
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

LOGGING = """\
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = CONSOLE
appender.console.type = Console
appender.console.name = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %m (%c{1})%n
logger.server.name = org.apache.kafka.common.utils.AppInfoParser
logger.server.level = INFO
"""


@dataclass(frozen=True)
class KafkaService:
    """The broker; state below `<var>/kafka`."""

    settings: Settings
    cancel: Event = field(default_factory=Event)
    report: Report = lambda _: None
    name: str = "kafka"

    @property
    def conf(self) -> KafkaSettings:
        """The branch of the settings."""
        return self.settings.kafka

    @property
    def external(self) -> bool:
        """A cluster named in the settings is somebody else's."""
        return self.conf.bootstrap_servers is not None

    @property
    def folder(self) -> Path:
        """Configuration and data."""
        return self.settings.var_dir / "kafka"

    @property
    def daemon(self) -> Daemon:
        """Its process."""
        var = self.settings.var_dir
        return Daemon(self.name, run_dir=var / "run", log_dir=var / "logs")

    def start(self) -> None:
        """Format the data folder the first time, then start the broker."""
        conf = self.conf
        require_loopback(conf.host, "STORELAKE_KAFKA__HOST")
        require_free_port(conf.host, conf.port, "Kafka", "STORELAKE_KAFKA__PORT")
        require_free_port(
            conf.host,
            conf.controller_port,
            "Kafka's controller",
            "STORELAKE_KAFKA__CONTROLLER_PORT",
        )
        java = find_java(self.settings.java_home)
        jars = kafka_jars(self.settings.cache_dir, java.path, self.cancel, self.report)
        self._write_configuration()
        if not (self.folder / "data" / "meta.properties").is_file():
            self.report("kafka: formatting its data folder")
            run_tool(self.format_command(java, jars), "Formatting Kafka's data folder", self.cancel)
        self.report("kafka: starting")
        self.daemon.spawn(self.command(java, jars), cwd=self.folder)

    def _write_configuration(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
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
        (self.folder / "log4j2.properties").write_text(LOGGING)

    def _jvm(self, java: Java, jars: Path) -> list[str]:
        """Java with flags that make it small and quick to start, rather than fast at its peak."""
        archive = jars / archive_name(java)
        return [
            java.path,
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xlog:cds=off",
            "-Xlog:cds+dynamic=off",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "-cp",
            f"{jars}/*",
            *([f"-XX:SharedArchiveFile={archive}"] if archive.is_file() else []),
        ]

    def command(self, java: Java, jars: Path) -> list[str]:
        """The command line of the broker.

        The first run notes the classes it loaded when it ends, in an archive that halves the time
        of every later start (2.2 s instead of 3.9 s on 2 cores).
        """
        options = [f"-Xmx{self.conf.heap_mb}m", "-XX:+ExitOnOutOfMemoryError"]
        if not (jars / archive_name(java)).is_file():
            options.append(f"-XX:ArchiveClassesAtExit={self.folder / archive_name(java)}")
        return [
            *self._jvm(java, jars),
            *options,
            "kafka.Kafka",
            str(self.folder / "server.properties"),
        ]

    def format_command(self, java: Java, jars: Path) -> list[str]:
        """The command line that prepares an empty data folder."""
        # The first byte keeps the id from beginning with a dash, which would read as an option.
        cluster = urlsafe_b64encode(b"S" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", cluster]
        return [*self._jvm(java, jars), *tool, "-c", str(self.folder / "server.properties")]

    def ready(self) -> bool:
        """Alive, listening on its port, and listing topics."""
        return self.daemon.owns_port(self.conf.port) and answers(self.conf)

    def stop(self) -> bool:
        """Ask for a clean shutdown, which spares the next start a log recovery."""
        ending = self.daemon.stop(signal.SIGTERM, patience_seconds=STOP_SECONDS)
        self._keep_archives(whole=ending == "graceful")
        return ending != "absent"

    def _keep_archives(self, whole: bool) -> None:
        """Put the class archive of a first run beside the jars, which it must match."""
        jars = jars_folder(self.settings.cache_dir)
        for archive in self.folder.glob("classes-*.jsa"):
            if whole and jars.is_dir():
                scratch = jars / f"{archive.name}.partial-{uuid.uuid4().hex}"
                shutil.copyfile(archive, scratch)
                scratch.replace(jars / archive.name)
            archive.unlink()

    def status(self) -> ServiceStatus:
        """What can be said now."""
        if self.external:
            detail = "answers" if answers(self.conf) else "does not answer"
            return ServiceStatus(self.name, "external", self.conf.bootstrap, detail=detail)
        process = self.daemon.find()
        if process is None:
            return ServiceStatus(self.name, "stopped", self.conf.bootstrap)
        ready = self.ready()
        return ServiceStatus(
            self.name,
            "running" if ready else "starting",
            self.conf.bootstrap,
            pid=process.pid,
            detail="" if ready else "alive, but does not answer",
            memory_mb=self.daemon.memory_mb(),
        )

    def last_lines(self, count: int = 8) -> list[str]:
        """The end of the broker's log."""
        return tail(self.daemon.log_file, count)


def archive_name(java: Java) -> str:
    """The class archive of one Java; another one could not read it."""
    return f"classes-{java.version}.jsa"


def answers(conf: KafkaSettings, seconds: float = 2.0) -> bool:
    """Whether a broker at the address of the settings lists its topics."""
    try:
        client = AdminClient(
            {"bootstrap.servers": conf.bootstrap, **conf.client_options}, logger=SILENT
        )
        return bool(client.list_topics(timeout=seconds).brokers)
    except KafkaException:
        return False
