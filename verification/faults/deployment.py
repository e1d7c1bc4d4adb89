"""The supervised deployment that faults are injected into."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Protocol

import psutil
import psycopg

from conf.settings import Settings
from infra.local.board import StateDir
from infra.local.process import is_alive, wait_until
from infra.local.readiness import gateway_ready
from infra.local.streams import stream_states, streams_ready
from streaming.registry import STREAMS
from streaming.sinks.postgres import Database
from verification.deployment import COMMAND_SECONDS, Deployment
from verification.faults.inference import InferenceService
from verification.faults.load import Load
from verification.faults.proxy import TcpProxy
from verification.processes import ProcessError, kill_family

PROGRAMS = ("streams", "gateway", "maintenance")
TITLES = {
    "streams": "the driver",
    "jvm": "the JVM of the streams",
    "worker": "a Python worker of the streams",
    "gateway": "the gateway",
    "maintenance": "maintenance",
    "kafka": "Kafka",
    "postgres": "Postgres",
    "pulsar": "Pulsar",
    "minio": "MinIO",
    "inference": "the inference service",
    "supervisor": "the supervisor",
}
WORKERS = "streaming.runtime.worker_daemon"
LEDGERED = {s.name: s.reads for s in STREAMS if s.ledger == "postgres" and s.reads}
"""Streams that write a row of `stream_batches` with every batch -> kind of their messages."""


@dataclass
class SupervisedDeployment(Deployment):
    """Services and programs of one deployment, kept running by its supervisor.

    Attributes:
        load: orders and frames that are sent all the time.
        proxies: service -> the proxy before it, which cameras of the load use all the time.
        beside: programs that run beside the supervisor, in place of its own; None: none does.
        inference: the inference service, once a fault has started it.
        stopped: processes that were sent SIGSTOP; they are continued at the end.
    """

    load: Load = field(init=False)
    proxies: dict[str, TcpProxy] = field(default_factory=dict)
    beside: Restartable | None = None
    inference: InferenceService | None = None
    stopped: list[psutil.Process] = field(default_factory=list)

    def find(self, name: str) -> psutil.Process | None:
        """The process of a program or service, the supervisor; the JVM or a worker of Spark."""
        if name == "jvm":
            return java_below(self.find("streams"))
        if name == "inference":
            return self.inference.child if self.inference else None
        if name == "worker":
            return worker_below(self.find("jvm"))
        board = StateDir(self.settings.var_dir)
        return (board.supervisor if name == "supervisor" else board.daemon(name)).find()

    def restart_streams(self) -> None:
        """Stop the Spark application and start it again."""
        self.storelake("stop", "streams")
        self.storelake("start", "streams")

    def streams(self) -> dict[str, Any]:
        """Stream -> what the application reports of it; empty while none runs."""
        return stream_states(self.settings)

    def states(self) -> dict[str, str]:
        """Stream -> its state, such as `running` or `stalled`; "" where none is given."""
        return {name: str(one.get("state", "")) for name, one in self.streams().items()}

    def ready(self) -> bool:
        """Whether streams and gateway are ready."""
        return streams_ready(self.settings) and gateway_ready(self.settings)

    def committed_at(self) -> dict[str, datetime]:
        """Stream -> time of its newest commit in Postgres; empty while that does not answer."""
        query = "SELECT query_id, max(committed_at) FROM stream_batches GROUP BY query_id"
        with suppress(psycopg.Error), psycopg.connect(self.settings.postgres.dsn) as connection:
            return dict(connection.execute(query).fetchall())
        return {}

    def all_committed(self, since: datetime, names: Iterable[str] = LEDGERED) -> bool:
        """Whether each of these streams has begun and committed a batch since then."""
        newest = self.committed_at()
        return all(name in newest and newest[name] > since for name in names)

    def recovered(self, since: datetime) -> bool:
        """Whether every stream is running, and each that has a ledger committed since then.

        A stream that still retries would pass for a report of the next fault.
        """
        well = all(state == "running" for state in self.states().values())
        return well and self.all_committed(since) and self.ready()

    def wait_for_commits(self, since: datetime, seconds: float) -> bool:
        """Wait until all have recovered since then; False after so many seconds."""
        return wait_until(lambda: self.recovered(since), seconds, every=0.25)

    def behind(self, last: Mapping[tuple[str, int], int]) -> list[str]:
        """Streams of `LEDGERED` that have not yet come to some positions of Kafka.

        Args:
            last: (topic, partition) -> an offset.
        """
        detections = self.settings.kafka.detections

        def lags(name: str) -> bool:
            mine = [at for at in last if (at[0] == detections) is (LEDGERED[name] == "detections")]
            done = db.progress(name)[0]
            return any(int(done.get(at, -1)) < last[at] for at in mine)

        with closing(Database(self.settings.postgres.dsn, 1)) as db:
            return [name for name in LEDGERED if lags(name)]

    def signal(self, processes: Sequence[psutil.Process], number: signal.Signals) -> None:
        """Send a signal to processes; those that are gone are left out."""
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)
        if number is signal.SIGSTOP:
            self.stopped += processes
        if number is signal.SIGCONT:
            self.stopped = [one for one in self.stopped if one not in processes]

    def drivers(self) -> list[psutil.Process]:
        """Every process of this deployment that runs streams, whoever has started it."""
        found = []
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                mine = one.environ().get("STORELAKE_VAR_DIR") == str(self.settings.var_dir)
                if mine and is_driver(one.cmdline()) and is_alive(one):
                    found.append(one)
        return found

    def heal(self) -> str:
        """Start what does not run, as an operator does; returns an error message or nothing."""
        self.signal(list(self.stopped), signal.SIGCONT)
        if self.beside is not None:
            return self.beside.restart()
        for arguments in (("up", "--services-only"), ("start", *PROGRAMS)):
            done = self.storelake(*arguments)
            if done.code:
                return f"storelake {arguments[0]} ended with {done.code}: {done.last_lines(1)}"
        return ""

    def end(self) -> None:
        """Stop everything that runs with the folder of this deployment."""
        self.step("stopping what still runs")
        self.signal(list(self.stopped), signal.SIGCONT)
        if self.inference is not None:
            self.inference.end()
        self.storelake("down")  # the services, too: else the supervisor keeps them
        for one in self.drivers():
            kill_family(one)


class Restartable(Protocol):
    """Programs that a fault runs beside the supervisor."""

    @property
    def streams(self) -> psutil.Process:
        """The application."""

    def restart(self) -> str:
        """End and start them; returns an error message or nothing."""


def now() -> datetime:
    """UTC, with the clock that Postgres has, too."""
    return datetime.now(timezone.utc)


def java_below(process: psutil.Process | None) -> psutil.Process | None:
    """The JVM that a driver has started."""
    with suppress(psutil.Error):
        for one in process.children(recursive=True) if process else ():
            if one.name() == "java":
                return one
    return None


def worker_below(jvm: psutil.Process | None) -> psutil.Process | None:
    """A Python worker that runs tasks of the JVM: a child of the parent of all workers."""
    with suppress(psutil.NoSuchProcess):
        for one in jvm.children(recursive=True) if jvm else ():
            with suppress(psutil.Error):  # a command that the JVM has started ends meanwhile
                parent = one.parent()
                if parent and all(WORKERS in process.cmdline() for process in (one, parent)):
                    return one
    return None


def is_driver(words: Sequence[str]) -> bool:
    """Whether a command line is that of `storelake run`, or of a job given to `spark-submit`."""
    job = any("streaming/jobs/" in word for word in words)
    submitted = job and not any(word.endswith("java") or "SparkSubmit" in word for word in words)
    return submitted or ("cli.main" in words and "run" in words)


@contextmanager
def supervised(deployment: Deployment, *, rate: float, seed: int) -> Iterator[SupervisedDeployment]:
    """Programs on services that run, kept running by the supervisor; all end afterwards.

    Args:
        deployment: with the services.
        rate: order events a minute of the load, which is not begun.
        seed: of the load.

    Raises:
        StorelakeError: a program does not start.
    """
    made = SupervisedDeployment(deployment.settings, deployment.environment, deployment.step)
    with ExitStack() as stack:
        made.proxies = {
            name: stack.enter_context(closing(TcpProxy(port, announced=name == "kafka")))
            for name, port in _ports(made.settings).items()
        }
        stack.callback(made.end)
        if trouble := made.heal():
            raise ProcessError(trouble)
        made.require(made.ready, COMMAND_SECONDS, "the deployment is not ready", every=0.5)
        address = f"127.0.0.1:{made.proxies['kafka'].port}"
        kafka = made.settings.kafka.at(address, "cameras")
        proxied = made.settings.model_copy(update={"kafka": kafka})
        made.load = Load(made.settings, rate, seed, proxied)
        stack.callback(made.load.abandon)
        yield made


def _ports(settings: Settings) -> dict[str, int]:
    ports = {"kafka": settings.kafka.port, "postgres": settings.postgres.port}
    return ports | ({"s3": settings.s3.port} if settings.bucket is not None else {})
