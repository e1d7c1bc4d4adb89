"""A TCP proxy on loopback whose connections can go silent, as behind a cable that was pulled."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
CHUNK_BYTES = 65536
MOST_CONNECTIONS = 256
POLL_SECONDS = 0.2
SO_ATTACH_FILTER = 26  # Linux, socket(7); the module `socket` has no name for it


@dataclass
class Link:
    """One connection of a client, and the one to the server that belongs to it."""

    client: socket.socket
    server: socket.socket
    silent: threading.Event = field(default_factory=threading.Event)

    def silence(self) -> None:
        """Drop every packet that arrives on either side from now on, and forward nothing."""
        self.silent.set()
        for side in (self.client, self.server):
            with suppress(OSError):
                drop_packets(side)

    def close(self) -> None:
        """Close both sides."""
        for side in (self.client, self.server):
            side.close()


def drop_packets(connection: socket.socket) -> None:
    """Have the kernel drop every packet of a connection before TCP sees it.

    Data and keep-alive probes are not acknowledged any more, and nothing is reset: the peer cannot
    distinguish it from a network that has failed. A classic BPF program of one
    instruction, `return 0`.
    """
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


class TcpProxy:
    """Forwards connections to a port of this machine, until they are silenced.

    Args:
        target: port of the server, on 127.0.0.1.
        announced: a Kafka broker names its own address to clients, who then connect to it directly;
            its port is replaced by the proxy's in what the server sends.
    """

    def __init__(self, target: int, *, announced: bool = False) -> None:
        self._target = target
        self._listener = socket.create_server((HOST, 0))
        self._listener.settimeout(POLL_SECONDS)
        self.port = int(self._listener.getsockname()[1])
        self._edit = PortEditor(target, self.port) if announced else None
        self._links: list[Link] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        self._threads[0].start()

    def silence(self) -> int:
        """Silence every connection that is open, for ever; new ones are forwarded.

        Returns:
            How many connections that were.
        """
        live = [link for link in list(self._links) if not link.silent.is_set()]
        for link in live:
            link.silence()
        return len(live)

    @property
    def live(self) -> int:
        """Connections that are open and forwarded."""
        return sum(1 for link in list(self._links) if not link.silent.is_set())

    def close(self) -> None:
        """Close the listener and every connection."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()
        for link in self._links:
            link.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            if self.live >= MOST_CONNECTIONS:
                client.close()
                continue
            try:
                server = socket.create_connection((HOST, self._target))
            except OSError:
                client.close()
                continue
            link = Link(client, server)
            self._links.append(link)
            thread = threading.Thread(target=self._forward, args=(link,), name="link", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _forward(self, link: Link) -> None:
        sides = {link.client: link.server, link.server: link.client}
        kept = b""
        with suppress(OSError):
            while not self._over.is_set() and not link.silent.is_set():
                ready, _, _ = select.select(list(sides), [], [], POLL_SECONDS)
                for side in ready:
                    data = side.recv(CHUNK_BYTES)
                    if link.silent.is_set():
                        break
                    if not data:
                        return self._end(link)
                    if self._edit and side is link.server:
                        data, kept = self._edit(kept + data)
                    sides[side].sendall(data)
        if not link.silent.is_set():
            self._end(link)
        return None

    def _end(self, link: Link) -> None:
        link.close()
        with suppress(ValueError):
            self._links.remove(link)


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
