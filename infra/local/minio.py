"""MinIO on this machine: an S3 with one folder as its disk, on loopback."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import httpx

from conf.settings import S3Settings, Settings
from infra.local.checks import require_free_port, require_loopback
from infra.local.go import MINIO, build
from infra.local.process import Daemon, tail
from infra.local.service import Report, ServiceStatus

STOP_SECONDS = 20.0
# 503 until it knows its buckets and keys, and has found its disk to be well.
HEALTH = "/minio/health/cluster"


@dataclass(frozen=True)
class MinioService:
    """The object store; state below `<var>/minio`."""

    settings: Settings
    cancel: Event = field(default_factory=Event)
    report: Report = lambda _: None
    name: str = "minio"

    @property
    def conf(self) -> S3Settings:
        """The branch of the settings."""
        return self.settings.s3

    @property
    def external(self) -> bool:
        """An endpoint named in the settings is somebody else's."""
        return self.conf.endpoint is not None

    @property
    def folder(self) -> Path:
        """Its data."""
        return self.settings.var_dir / "minio"

    @property
    def daemon(self) -> Daemon:
        """Its process."""
        var = self.settings.var_dir
        return Daemon(self.name, run_dir=var / "run", log_dir=var / "logs")

    def start(self) -> None:
        """Build the program the first time, then start it."""
        conf = self.conf
        require_loopback(conf.host, "STORELAKE_S3__HOST")
        require_free_port(conf.host, conf.port, "MinIO", "STORELAKE_S3__PORT")
        program = build(MINIO, self.settings.cache_dir, self.cancel, self.report)
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        self.report("minio: starting")
        self.daemon.spawn(self.command(program), cwd=self.folder, environment=self.environment())

    def command(self, program: Path) -> list[str]:
        """The command line of the server."""
        address = f"{self.conf.host}:{self.conf.port}"
        return [str(program), "server", "--quiet", "--address", address, str(self.folder / "data")]

    def environment(self) -> dict[str, str]:
        """All its variables, the keys among them: a command line could be read by everybody.

        A region makes it refuse signatures for another one, as AWS does.
        """
        return {
            "HOME": str(self.folder),
            "MINIO_ROOT_USER": self.conf.access,
            "MINIO_ROOT_PASSWORD": self.conf.secret,
            "MINIO_SITE_REGION": self.conf.region,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_SCANNER_SPEED": "slowest",
        }

    def ready(self) -> bool:
        """Alive, listening on its port, and past its start."""
        return self.daemon.owns_port(self.conf.port) and answers(self.conf.url + HEALTH)

    def stop(self) -> bool:
        """End it after the requests that are under way."""
        return self.daemon.stop(signal.SIGTERM, patience_seconds=STOP_SECONDS) != "absent"

    def status(self) -> ServiceStatus:
        """What can be said now."""
        address = self.conf.url
        if self.external:
            detail = "answers" if answers(self.conf.url) else "does not answer"
            return ServiceStatus(self.name, "external", address, detail=detail)
        process = self.daemon.find()
        if process is None:
            return ServiceStatus(self.name, "stopped", address)
        ready = self.ready()
        return ServiceStatus(
            self.name,
            "running" if ready else "starting",
            address,
            pid=process.pid,
            detail="" if ready else "alive, but does not answer",
            memory_mb=self.daemon.memory_mb(),
        )

    def last_lines(self, count: int = 8) -> list[str]:
        """The end of the server's log."""
        return tail(self.daemon.log_file, count)


def answers(url: str, seconds: float = 2.0) -> bool:
    """Whether a server there serves requests; refusing an unsigned one is serving, too."""
    try:
        return httpx.get(url, timeout=seconds).status_code < httpx.codes.INTERNAL_SERVER_ERROR
    except httpx.HTTPError:
        return False
