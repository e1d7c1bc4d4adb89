"""The gateway's own server in this process, and raw bytes to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from cli.gateway import HEADERS
from conf.settings import HttpSettings, load_settings
from gateway.app import create_app
from gateway.producer import MemoryPublisher
from infra.http_server import HttpServer
from infra.local.process import wait_until
from tests.conftest import free_ports
from tests.support.gateway_keys import TILL as KEY
from tests.support.gateway_keys import MemoryKeys, bearer

EVENTS = "/api/kafka/events/order-created"
TILL = f"Content-Type: application/json\r\nAuthorization: {bearer(KEY)['Authorization']}\r\n"
"""The header lines with which a till sends; without an attack its events are accepted."""


@dataclass
class Served:
    """A gateway that runs, its ports and the broker that it writes to."""

    port: int
    operations_port: int
    broker: MemoryPublisher

    def connect(self, port: int | None = None) -> socket.socket:
        """A new connection to the public port, or to another."""
        return socket.create_connection(("127.0.0.1", port or self.port), timeout=10)

    def send(self, request: bytes, port: int | None = None) -> bytes:
        """All that comes back until the connection is closed."""
        answer = b""
        with self.connect(port) as connection:
            with suppress(
                ConnectionError
            ):  # it was closed before all was sent: see what it answered
                connection.sendall(request)
            with suppress(ConnectionError):
                while piece := connection.recv(65536):
                    answer += piece
        return answer

    def get(self, path: str, port: int | None = None) -> bytes:
        """The answer to GET."""
        return self.send(
            f"GET {path} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n".encode(), port
        )


@contextmanager
def serve_gateway(http: HttpSettings) -> Iterator[Served]:
    """A gateway with an operations port, on a broker in memory."""
    port, operations_port = free_ports(2)
    settings = load_settings(gateway={"port": port, "operations_port": operations_port})
    broker = MemoryPublisher()
    addresses = [("127.0.0.1", port), ("127.0.0.1", operations_port)]
    server = HttpServer(create_app(settings, broker, MemoryKeys()), http, addresses, 1, HEADERS)
    thread = threading.Thread(target=server.serve_until_stopped)
    thread.start()
    assert wait_until(lambda: server.started, 20)
    try:
        yield Served(port, operations_port, broker)
    finally:
        server.should_exit = True
        thread.join()
