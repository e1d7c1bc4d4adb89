"""What a local service looks like to the supervisor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

State = Literal["running", "starting", "stopped", "external"]
Report = Callable[[str], None]
"""Takes one short line of progress, such as `Kafka: 12 jars fetched`."""


@dataclass(frozen=True)
class ServiceStatus:
    """How one service is doing.

    `running` means that our process is alive, owns its port and answers its protocol;
    `starting` that it is alive, but does not answer (yet); `external` that the settings point to
    a server that somebody else runs, which is never started or stopped from here.
    """

    name: str
    state: State
    address: str
    pid: int | None = None
    detail: str = ""
    memory_mb: int | None = None


class Service(Protocol):
    """One server process on this machine."""

    @property
    def name(self) -> str:
        """A short lower-case name; also the stem of its log and pid file."""
        ...

    @property
    def external(self) -> bool:
        """Whether the settings point to a server that we must leave alone."""
        ...

    def start(self) -> None:
        """Prepare the data folder and start the process, without waiting until it is ready.

        Raises:
            ServiceError: no Java, a taken port, too little disk, or a failed preparation.
        """
        ...

    def ready(self) -> bool:
        """Whether the process is alive, owns its port and answers its protocol."""
        ...

    def stop(self) -> bool:
        """End our process, gracefully, then forcibly; False if there was none."""
        ...

    def status(self) -> ServiceStatus:
        """What can be said now, in a second at most."""
        ...

    def last_lines(self, count: int = 8) -> list[str]:
        """The end of the log, for the message about a start that failed."""
        ...
