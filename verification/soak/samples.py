"""What a deployment takes of its machine, sampled while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psutil
import psycopg

from infra.local.poller import Poller
from infra.local.process import resident
from verification.faults.deployment import SupervisedDeployment, now
from verification.processes import family

SAMPLE_SECONDS = 20.0
PROCESSES = (
    *("streams", "gateway", "maintenance", "quality", "console", "supervisor"),
    *("kafka", "postgres"),
)
BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
MEMORY, OPEN_FILES, THREADS = "memory_mb", "open_files", "threads"
BACKEND_COUNT, STATE, CHECKPOINT_FILES, STORED = (
    *("postgres_connections", "state_mb"),
    *("checkpoint_files", "stored_mb"),
)

Sample = Mapping[str, Mapping[str, float]]
"""Measure -> of what -> value; what does not run has no value."""


@dataclass
class Samples:
    """One sample every `SAMPLE_SECONDS`, from `start` to `finish`.

    Attributes:
        deployment: that is sampled.
        taken: (UTC, sample), in order of time.
    """

    deployment: SupervisedDeployment
    taken: list[tuple[datetime, Sample]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._poller = Poller("samples", self._take, SAMPLE_SECONDS)

    def start(self) -> None:
        """Begin to sample in a thread."""
        self._poller.start()

    def finish(self) -> None:
        """Take the last sample, and end."""
        self._poller.finish()

    def _take(self) -> None:
        self.taken.append((now(), take(self.deployment)))


def take(deployment: SupervisedDeployment) -> Sample:
    """One sample of a deployment, of what runs of it at this moment."""
    running = {name: _members(name, p) for name in PROCESSES if (p := deployment.find(name))}
    # A backend of Postgres keeps the files of every table open that it has used, by design.
    clients = {name: ones for name, ones in running.items() if name != "postgres"}
    folder = deployment.settings.checkpoints
    return {
        MEMORY: {name: _sum(ones, resident) / 2**20 for name, ones in running.items()},
        OPEN_FILES: {name: _sum(ones, psutil.Process.num_fds) for name, ones in clients.items()},
        THREADS: {name: _sum(ones, psutil.Process.num_threads) for name, ones in running.items()},
        BACKEND_COUNT: _backends(deployment),
        STATE: {"streams": sum(map(_size, folder.glob("*/state/**/*"))) / 2**20},
        CHECKPOINT_FILES: {"streams": float(sum(1 for _ in folder.rglob("*")))},
        STORED: dict(_stored(deployment.settings.var_dir)),
    }


def _members(name: str, process: psutil.Process) -> list[psutil.Process]:
    """A process with its descendants; those of the supervisor are the others."""
    return [process] if name == "supervisor" else family(process)


def _sum(processes: list[psutil.Process], measure: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for one in processes:
        with suppress(psutil.Error):
            total += measure(one)
    return total


def _backends(deployment: SupervisedDeployment) -> dict[str, float]:
    with suppress(psycopg.Error), psycopg.connect(deployment.settings.postgres.dsn) as connection:
        row = connection.execute(BACKENDS).fetchone()
        return {"postgres": float(row[0])} if row else {}
    return {}


def _stored(var: Path) -> Iterator[tuple[str, float]]:
    """Folder of the deployment -> MB in it."""
    for folder in sorted(one for one in var.iterdir() if one.is_dir()):
        yield folder.name, sum(map(_size, folder.rglob("*"))) / 2**20


def _size(file: Path) -> int:
    with suppress(OSError):  # it may have been deleted since
        return file.stat().st_size if file.is_file() else 0
    return 0
