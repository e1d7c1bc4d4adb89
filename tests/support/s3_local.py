"""A real S3 for tests, and a proxy to it that can fail."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from conf.settings import Settings
from infra.local.minio import MinioService
from infra.local.passwords import with_secrets
from infra.local.process import wait_until
from infra.local.provision import ensure_bucket
from tests.conftest import free_ports

BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def start_minio(settings: Settings, warehouse: str) -> MinioService:
    """MinIO on a free port, with the bucket of the warehouse and keys of its own."""
    (port,) = free_ports(1)
    catalog = settings.catalog.model_copy(update={"warehouse": warehouse})
    s3 = settings.s3.model_copy(update={"port": port, "region": "eu-central-1"})
    service = MinioService(with_secrets(settings.model_copy(update={"catalog": catalog, "s3": s3})))
    service.start()
    assert wait_until(service.ready, 60), service.last_lines()
    assert ensure_bucket(service.settings)
    return service


def through(settings: Settings, endpoint: str) -> Settings:
    """The same S3 by another address."""
    return settings.model_copy(update={"s3": settings.s3.model_copy(update={"endpoint": endpoint})})


@dataclass
class Wire:
    """Passes bytes to a server; while it is `busy`, it responds 503.

    Attributes:
        port: of the server.
        refused: number of responses 503.
    """

    port: int
    refused: int = 0
    _busy: threading.Event = field(default_factory=threading.Event)
    _open: set[socket.socket] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def break_it(self) -> None:
        """Respond 503 from now on, and close open connections."""
        self._busy.set()
        self._hang_up()

    def mend_it(self) -> None:
        self._busy.clear()

    def close(self) -> None:
        self._listener.close()
        self._hang_up()

    def _hang_up(self) -> None:
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                caller, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with suppress(OSError), caller:
            if self._busy.is_set():
                caller.recv(65536)
                self.refused += 1
                caller.sendall(BUSY)
                caller.shutdown(socket.SHUT_WR)
                while caller.recv(65536):  # else bytes in transit would reset the response
                    pass
                return
            with socket.create_connection(("127.0.0.1", self.port)) as server:
                self._open |= {caller, server}
                back = threading.Thread(target=self._send_loop, args=(server, caller), daemon=True)
                back.start()
                self._send_loop(caller, server)
                back.join()
                self._open -= {caller, server}

    @staticmethod
    def _send_loop(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                target.sendall(chunk)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    """A proxy until the end of the block."""
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()
