"""The files through which commands and the supervisor process (`infra.local.supervisor`) talk.

Commands write `<var>/run/wanted.json`: what shall run, and when somebody asked for each. The
supervisor writes `supervisor-state.json`: what became of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from infra.local.daemon import Daemon
from infra.local.state_files import UnreadableStateError, read_state, unreadable, write_state

NAME = "supervisor"
WANTED_FILE, STATE_FILE = "wanted.json", "supervisor-state.json"
SERVICES = ("kafka", "postgres", "pulsar", "minio", "trino")


@dataclass(frozen=True)
class ProgramStatus:
    """Status of one program or service, written by the supervisor.

    Attributes:
        asked_at: time of the request that this status answers.
        again_at: when it starts again, in seconds of the epoch; None unless it waits for that.
        failed: whether the supervisor has given up, until a new request.
        note: how it ended last, the cause first.
        answered: whether a service has answered since its start.
        silent_since: since when it does not answer any more, in seconds of the epoch; None while
            it does.
    """

    asked_at: float = 0.0
    restarts: int = 0
    again_at: float | None = None
    failed: bool = False
    note: str = ""
    answered: bool = False
    silent_since: float | None = None


@dataclass(frozen=True)
class StateDir:
    """The state files of one deployment."""

    var: Path

    @property
    def supervisor(self) -> Daemon:
        """The supervisor's own process."""
        return Daemon(NAME, self._run, self.var / "logs")

    def daemon(self, name: str) -> Daemon:
        """The process of a program or a service; `run` itself has files by the programs' names."""
        folder = self._run if name in SERVICES else self._run / "programs"
        return Daemon(name, folder, self.var / "logs")

    @property
    def _run(self) -> Path:
        return self.var / "run"

    def wanted(self) -> dict[str, float]:
        """What shall run, with the time at which each was asked for.

        Where the file cannot be read: what the supervisor last reported, and what runs.
        """
        try:
            return self.requested()
        except UnreadableStateError:
            statuses: dict[str, ProgramStatus] = {}
            with suppress(UnreadableStateError):
                statuses = self.statuses()
            return dict(self._running()) | {
                name: status.asked_at for name, status in statuses.items()
            }

    def requested(self) -> dict[str, float]:
        """The content of `wanted.json`; empty where there is none.

        Raises:
            UnreadableStateError: it cannot be read.
        """
        state = read_state(self._run / WANTED_FILE) or {}
        if not all(isinstance(at, (int, float)) for at in state.values()):
            raise unreadable(self._run / WANTED_FILE, "a value is no time")
        return {name: float(at) for name, at in state.items()}

    def _running(self) -> Iterator[tuple[str, float]]:
        """What runs by the pid files, readable or not, with the time of its start."""
        files = (self._run / "programs").glob("*.json")
        for name in (*SERVICES, *(file.stem for file in files)):
            with suppress(psutil.Error):
                if process := self.daemon(name).find():
                    yield name, process.create_time()

    def want(self, wanted: Mapping[str, float]) -> None:
        """Replace the list of what shall run."""
        write_state(self._run / WANTED_FILE, wanted)

    def statuses(self) -> dict[str, ProgramStatus]:
        """Last status of everything that the supervisor runs.

        Raises:
            UnreadableStateError: the file cannot be read.
        """
        state = read_state(self._run / STATE_FILE) or {}
        try:
            return {name: ProgramStatus(**fields) for name, fields in state.items()}
        except TypeError as error:
            raise unreadable(self._run / STATE_FILE, "it has other fields") from error

    def status(self, name: str) -> ProgramStatus:
        """Status of one; empty while the supervisor has only answered an earlier request."""
        asked_at = self.wanted().get(name, 0.0)
        status = ProgramStatus()
        with suppress(UnreadableStateError):  # the supervisor writes it again at once
            status = self.statuses().get(name, status)
        return status if status.asked_at == asked_at else ProgramStatus(asked_at)

    def show(self, statuses: Mapping[str, ProgramStatus]) -> None:
        """Write the present status of everything."""
        write_state(
            self._run / STATE_FILE, {name: asdict(status) for name, status in statuses.items()}
        )
