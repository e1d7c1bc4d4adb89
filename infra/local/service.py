"""What all local services have in common: a process, its folder, and how they are asked for."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import ClassVar, Generic, Literal, TypeVar, cast

from conf.settings import (
    KafkaSettings,
    PostgresSettings,
    PulsarSettings,
    S3Settings,
    Settings,
    TrinoSettings,
)
from infra.local.checks import require_free_port, require_loopback
from infra.local.daemon import Daemon, Ending
from infra.local.locks import exclusive
from infra.local.passwords import with_known_secrets, with_secrets
from infra.local.process import tail
from infra.local.tool import Report

STOP_SECONDS = 20.0
DOWNLOAD_SECONDS = 900.0
"""As long as an `up` may hold the lock of the services that downloads first."""
State = Literal[
    "running",
    "starting",
    "not answering",
    "stalled",
    "stopped",
    "external",
    "waiting",
    "failed",
    "off",
]


@dataclass(frozen=True)
class ServiceStatus:
    """How one service, or one process of the deployment, is doing.

    `running` means that our process is alive, owns its port and answers its protocol;
    `starting` that it is alive, but does not answer yet; `not answering` that it has answered and
    does so no more; `external` that somebody else runs it, who is never started or stopped from
    here. Of what the supervisor looks after: `waiting` died and starts again, `failed` died too
    often, `off` was not asked for. The streams are `failed` or `stalled` when one of them is.

    Attributes:
        detail: one sentence, the cause first.
        lag_rows: messages that wait for the stream that is furthest behind.
        streams: name -> `state` and `detail` of each stream; None of any other process.
    """

    name: str
    state: State
    address: str
    pid: int | None = None
    detail: str = ""
    memory_mb: int | None = None
    uptime_seconds: int | None = None
    restarts: int | None = None
    lag_rows: int | None = None
    streams: Mapping[str, Mapping[str, str]] | None = None

    def with_process(self, daemon: Daemon) -> ServiceStatus:
        """The same with pid, memory and age of its process."""
        process = daemon.find()
        return replace(
            self,
            pid=process.pid if process else None,
            memory_mb=daemon.memory_mb(),
            uptime_seconds=daemon.uptime_seconds(),
        )

    @property
    def well(self) -> bool:
        """Whether nobody need look after it."""
        return self.state in {"running", "external", "off"}


Listener = KafkaSettings | PostgresSettings | PulsarSettings | S3Settings | TrinoSettings
Conf = TypeVar("Conf", bound=Listener)


@dataclass(frozen=True)
class Service(ABC, Generic[Conf]):
    """One server process on this machine.

    Attributes:
        cancel: set by Ctrl-C; preparations look at it.
        name: short, in lower case; also the stem of its log and pid file, and its folder.
        ports: settings, each with what listens there, for a message.
        elsewhere: the setting that names a server of somebody else.
        clients_use: the property of the settings that is its address.
        stop_signal: requests a clean shutdown.
    """

    settings: Settings
    cancel: Event = field(default_factory=Event)
    report: Report = lambda _: None

    name: ClassVar[str]
    branch: ClassVar[str]
    ports: ClassVar[Sequence[tuple[str, str]]]
    elsewhere: ClassVar[str]
    clients_use: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    @property
    def conf(self) -> Conf:
        """Its branch of the settings."""
        return cast("Conf", getattr(self.settings, self.branch))

    @property
    def external(self) -> bool:
        """Whether the settings point to a server that we must leave alone."""
        return getattr(self.conf, self.elsewhere) is not None

    @property
    def address(self) -> str:
        """Where clients find it."""
        return str(getattr(self.conf, self.clients_use))

    def start(self) -> None:
        """Prepare the data folder and start the process, without waiting until it is ready.

        Raises:
            ServiceError: no Java, a taken port, too little disk, or a failed preparation.
        """
        host, prefix = self.conf.host, f"STORELAKE_{self.branch.upper()}__"
        require_loopback(host, f"{prefix}HOST")
        for setting, who in self.ports:
            port = getattr(self.conf, setting)
            require_free_port(host, port, who, f"{prefix}{setting.upper()}")
        self.launch()

    @abstractmethod
    def launch(self) -> None:
        """Prepare the data folder and start the process; its ports are free."""

    def start_again(self) -> None:
        """Start it for the supervisor, unless a command has done so; returns before it is ready.

        Raises:
            ServiceError: see `start`; or another command is busy.
        """
        with services_lock(self.settings, DOWNLOAD_SECONDS, self.cancel):
            if self.daemon.recover() is None:
                service = replace(self, settings=with_secrets(self.settings))
                service.stop()  # also waits for the rest of a process that was killed
                service.start()

    @abstractmethod
    def serves(self) -> bool:
        """Whether it serves, asked by its protocol; within two seconds."""

    def complaint(self) -> str:
        """Why it does not serve; empty if it does."""
        return "" if self.serves() else "does not answer"

    def silent(self) -> bool:
        """Whether it does not answer at all, asked with the secrets of now; within seconds.

        A server that refuses answers: a password, too many connections, a recovery (FATAL is of
        Postgres).
        """
        complaint = replace(self, settings=with_known_secrets(self.settings)).complaint()
        return bool(complaint) and not any(one in complaint for one in ("FATAL", "refuses"))

    @property
    def folder(self) -> Path:
        """Configuration and data."""
        return self.settings.var_dir / self.name

    @property
    def daemon(self) -> Daemon:
        """Its process."""
        var = self.settings.var_dir
        return Daemon(self.name, run_dir=var / "run", log_dir=var / "logs")

    def ready(self) -> bool:
        """Whether the process is alive, owns its port and answers its protocol."""
        return self.daemon.owns_port(self.conf.port) and not self.complaint()

    def stop(self) -> bool:
        """End our process, gracefully, then forcibly; False if there was none."""
        ending = self.daemon.stop(self.stop_signal, patience_seconds=STOP_SECONDS)
        self.after_stop(ending)
        return ending != "absent"

    def after_stop(self, ending: Ending) -> None:
        """Tidy up; `ending` states whether the process came to its own end."""

    def status(self) -> ServiceStatus:
        """Its present status, found in a second or two at most."""
        if self.external:
            detail = self.complaint() or "answers"
            return ServiceStatus(self.name, "external", self.address, detail=detail)
        if self.daemon.find() is None:
            return ServiceStatus(self.name, "stopped", self.address)
        listens = self.daemon.owns_port(self.conf.port)
        complaint = self.complaint() if listens else "alive, but does not listen"
        state: State = "starting" if complaint else "running"
        row = ServiceStatus(self.name, state, self.address, detail=complaint)
        return row.with_process(self.daemon)

    def last_lines(self, count: int = 8) -> list[str]:
        """The end of the log, for the message about a start that failed."""
        return tail(self.daemon.log_file, count)


def services_lock(
    settings: Settings, seconds: float, cancel: Event | None = None
) -> AbstractContextManager[None]:
    """One at a time starts or stops services of a deployment; see `exclusive`."""
    return exclusive(settings.var_dir / "run" / "up.lock", "the services", seconds, cancel)
