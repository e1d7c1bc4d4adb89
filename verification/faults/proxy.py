"""A TCP proxy on loopback whose connections go silent, or whose traffic is tampered with.

Silent: as behind a cable that was pulled. Tampered with: delayed, answered or reset
(`tampering.py`).
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

HOST = "127.0.0.1"
CHUNK_BYTES = 65536
POLL_SECONDS = 0.2
DRAIN_SECONDS = 1.0
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


class ResetConnection(Exception):  # noqa: N818 - ends a connection, is no failure
    """Both sides are reset (RST); a last part of a request still reaches the server."""

    def __init__(self, last: bytes = b"") -> None:
        self.last = last


class AnswerInstead(Exception):  # noqa: N818 - ends a connection, is no failure
    """The client gets this answer in place of the server's, and the connection ends."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer


class Tamper:
    """Decides what happens to traffic; this one forwards it as it is.

    `request` and `response` take a connection and bytes, and return those to forward. They may
    wait, and raise `ResetConnection` or `AnswerInstead`.

    Attributes:
        fired: what was hit, by name, each as often as it was.
    """

    def __init__(self) -> None:
        self.fired: list[str] = []

    def request(self, link: object, data: bytes) -> bytes:  # noqa: ARG002 - for those that look
        """Bytes on their way to the server."""
        return data

    def response(self, link: object, data: bytes) -> bytes:  # noqa: ARG002 - for those that look
        """Bytes on their way to the client."""
        return data


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
        self.tamper = Tamper()
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

    def apply(self, tamper: Tamper) -> None:
        """Tamper with every connection that begins from now on; those that are open are reset."""
        self.tamper = tamper
        self.reset()

    @contextmanager
    def tampering(self, tamper: Tamper) -> Iterator[None]:
        """Tamper with connections until the end of the block."""
        self.apply(tamper)
        try:
            yield
        finally:
            self.tamper = Tamper()

    def reset(self) -> None:
        """Reset every connection that is open."""
        for link in list(self.links):
            link.reset()

    def shutdown_request(self, request: object) -> None:
        """Leave a silent connection open; the others are closed by their forwarder."""

    @property
    def url(self) -> str:
        """Of an HTTP server behind it."""
        return f"http://{HOST}:{self.port}"

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
                if not self._pass_on(data, side is client):
                    return

    def _pass_on(self, data: bytes, is_request: bool) -> bool:
        """Forward bytes as the tamper returns them; whether the connection remains open."""
        client, target = self._sides
        tamper = self.server.tamper
        try:
            if is_request:
                target.sendall(tamper.request(self, data))
            elif data:
                client.sendall(tamper.response(self, data))
        except ResetConnection as end:
            target.sendall(end.last)
            self.reset()
        except AnswerInstead as end:
            _answer(client, end.answer)
        else:
            return True
        return False

    def reset(self) -> None:
        """Close both sides by RST."""
        for side in self._sides:
            with suppress(OSError):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.shutdown(socket.SHUT_RD)  # wakes up the forwarder, which closes
        self.server.links.discard(self)

    def finish(self) -> None:
        if not self._silent:
            self.server.links.discard(self)
            self.end()

    def end(self) -> None:
        """Close both sides."""
        for side in self._sides:
            side.close()


def _answer(client: socket.socket, answer: bytes) -> None:
    """Answer, then read what is still in transit, which would reset the answer."""
    client.sendall(answer)
    client.shutdown(socket.SHUT_WR)
    client.settimeout(DRAIN_SECONDS)
    while client.recv(CHUNK_BYTES):
        pass


def whole_frames(data: bytes) -> tuple[list[bytes], bytes]:
    """Messages of Kafka without their length, and the start of the next one with it."""
    found, start = [], 0
    while len(data) >= start + 4:
        (length,) = struct.unpack_from(">i", data, start)
        if len(data) < start + 4 + length:
            break
        found.append(data[start + 4 : start + 4 + length])
        start += 4 + length
    return found, data[start:]


class PortEditor:
    """Replaces the port that follows 127.0.0.1 in answers of Kafka: a string, then 4 bytes.

    Works on whole answers (4 bytes of length, then so many bytes), and keeps their length.
    """

    def __init__(self, old: int, new: int) -> None:
        self._old, self._new = (HOST.encode() + struct.pack(">i", port) for port in (old, new))

    def __call__(self, data: bytes) -> tuple[bytes, bytes]:
        """The whole answers of the data, edited, and the start of the next one."""
        kept = whole_frames(data)[1]
        return data[: len(data) - len(kept)].replace(self._old, self._new), kept
