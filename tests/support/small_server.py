"""A small real server that the supervisor keeps running in tests, as it does Kafka."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ServiceError
from infra.local.board import StateDir
from infra.local.daemon import Daemon

SERVES = """\
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("here", flush=True)
while True:
    one = listener.accept()[0]
    one.sendall(b"well")
    one.close()
"""


@dataclass
class SmallServer:
    """Sends `well` on every connection.

    Attributes:
        refuses: error at its start; empty: it starts.
    """

    board: StateDir
    port: int
    name: str = "kafka"
    refuses: str = ""

    @property
    def daemon(self) -> Daemon:
        return self.board.daemon(self.name)

    def start_again(self) -> None:
        if self.refuses:
            raise ServiceError(self.refuses)
        command = [sys.executable, "-IS", "-c", SERVES, str(self.port)]
        self.daemon.spawn(command, cwd=Path("/"))

    def silent(self) -> bool:
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=0.2) as one,
        ):
            return one.recv(4) != b"well"
        return True
