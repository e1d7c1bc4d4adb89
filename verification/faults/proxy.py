"""A TCP proxy on loopback whose connections can go silent, as behind a cable that was pulled."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import threading
from contextlib import suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

HOST = "127.0.0.1"
CHUNK_BYTES = 65536
POLL_SECONDS = 0.2
SO_ATTACH_FILTER = 26  # Linux, socket(7); the module `socket` has no name for it


def drop_packets(connection: socket.socket) -> None:
    """Have the kernel drop every packet of a connection before TCP sees it.

    Data and keep-alive probes are not acknowledged any more, and nothing is reset: the peer cannot
    distinguish it from a network that has failed. A classic BPF program of one
    instruction, `return 0`.
    """
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


class TcpProxy(ThreadingTCPServer):
    """Forwards connections to a port of this machine, until they are silenced.

    Args:
        target: port of the server, on 127.0.0.1.
        announced: a Kafka broker names its own address to clients, who then connect to it directly;
            its port is replaced by the proxy's in what the server sends.
    """

    daemon_threads = True

    def __init__(self, target: int, *, announced: bool = False) -> None:
        super().__init__((HOST, 0), _Forwarder)
        self.target, self.port = target, int(self.server_address[1])
        self.edit = PortEditor(target, self.port) if announced else None
        self.links: set[_Forwarder] = set()
        self._silenced: list[_Forwarder] = []
        threading.Thread(target=self.serve_forever, args=(POLL_SECONDS,), daemon=True).start()

    def silence(self) -> int:
        """Silence every connection that is open, for ever; new ones are forwarded.

        Returns:
            How many connections that were.
        """
        live, self.links = list(self.links), set()
        self._silenced += live
        for link in live:
            link.silence()
        return len(live)

    def shutdown_request(self, request: object) -> None:
        """Leave a silent connection open; the others are closed by their forwarder."""

    @property
    def live(self) -> int:
        """Connections that are open and forwarded."""
        return len(self.links)

    def close(self) -> None:
        """Close the listener and every connection."""
        self.shutdown()
        self.server_close()
        for link in (*self.links, *self._silenced):
            link.end()


class _Forwarder(BaseRequestHandler):
    """One connection of a client, and the one to the server that belongs to it."""

    server: TcpProxy

    def setup(self) -> None:
        self._sides: list[socket.socket] = [self.request]
        self._silent = False

    def silence(self) -> None:
        """Drop every packet that arrives on either side from now on, and forward nothing."""
        self._silent = True
        for side in self._sides:
            with suppress(OSError):
                drop_packets(side)

    def handle(self) -> None:
        with suppress(OSError, ValueError):  # refused, or closed meanwhile
            self._sides.append(socket.create_connection((HOST, self.server.target)))
            self.server.links.add(self)
            self._forward(*self._sides)

    def _forward(self, client: socket.socket, target: socket.socket) -> None:
        others, kept = {client: target, target: client}, b""
        while not self._silent:
            for side in select.select(list(others), [], [], POLL_SECONDS)[0]:
                data = side.recv(CHUNK_BYTES)
                if not data or self._silent:
                    return
                if self.server.edit and side is target:
                    data, kept = self.server.edit(kept + data)
                others[side].sendall(data)

    def finish(self) -> None:
        if not self._silent:
            self.server.links.discard(self)
            self.end()

    def end(self) -> None:
        """Close both sides."""
        for side in self._sides:
            side.close()


class PortEditor:
    """Replaces the port that follows 127.0.0.1 in answers of Kafka: a string, then 4 bytes.

    Works on whole answers (4 bytes of length, then so many bytes), and keeps their length.
    """

    def __init__(self, old: int, new: int) -> None:
        self._old, self._new = (HOST.encode() + struct.pack(">i", port) for port in (old, new))

    def __call__(self, data: bytes) -> tuple[bytes, bytes]:
        """The whole answers of the data, edited, and the start of the next one."""
        end = 0
        while len(data) >= end + 4:
            (length,) = struct.unpack_from(">i", data, end)
            if len(data) < end + 4 + length:
                break
            end += 4 + length
        return data[:end].replace(self._old, self._new), data[end:]
