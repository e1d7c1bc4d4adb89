"""Pid files: which process was started under a name, so that it is not mistaken for another one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from conf.processes import this_machine
from infra.local.state_files import read_state, unreadable, write_state


@dataclass(frozen=True)
class PidRecord:
    """The content of a pid file.

    Attributes:
        create_time: its start, of `conf.processes.started`.
        log_from: the size of its log, in bytes, when it started.
        machine: where it was started; empty where unknown.
    """

    pid: int
    create_time: float
    command: list[str]
    log_from: int = 0
    machine: str = ""

    @property
    def is_here(self) -> bool:
        """Whether its pid means the same process here: not after a boot, nor in a container."""
        return self.machine in ("", this_machine())

    def check(self) -> None:
        """Raise ValueError unless the values are what a pid file holds."""
        if not (type(self.pid) is int and 0 < self.pid < 2**31):
            raise ValueError("no pid")
        if not (type(self.log_from) is int and isinstance(self.create_time, (int, float))):
            raise ValueError("not a number")
        if not isinstance(self.command, list):
            raise ValueError("no command")


def write_record(file: Path, record: PidRecord) -> None:
    """Replace a pid file.

    Raises:
        OSError: the disk is full, or the folder is closed to this user.
    """
    write_state(file, asdict(record))


def read_record(file: Path) -> PidRecord | None:
    """The content of a pid file; None where there is none.

    Raises:
        UnreadableStateError: it is no pid file.
    """
    state = read_state(file)
    if state is None:
        return None
    try:
        record = PidRecord(**state)
        record.check()
    except (TypeError, ValueError) as error:
        raise unreadable(file, "it names no process") from error
    return record
