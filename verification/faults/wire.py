"""Records that no client library would send, by Kafka's own protocol over one connection.

Produce requests of version 3 with one record batch (magic 2) of one record:
https://kafka.apache.org/protocol and https://kafka.apache.org/documentation/#recordbatch
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

ACKS_ALL = -1
TIMEOUT_MS = 10_000
CLIENT_ID = b"storelake-faults"
NO_LEADER = (5, 6)
"""Leader not available, and not leader or follower:
https://kafka.apache.org/protocol#protocol_error_codes"""

Header = tuple[bytes, "bytes | None"]


class ProduceError(Exception):
    """The broker refuses a record, or does not answer."""


class NoLeaderError(ProduceError):
    """The partition has no leader (yet), as one of a topic that was made a moment ago."""


@dataclass(frozen=True)
class Record:
    """What a broker keeps of a message.

    Attributes:
        value, key: None for a null.
        timestamp: milliseconds since 1970; any number of 64 bits.
        headers: name and value; a name may be any bytes, which clients take for UTF-8.
    """

    value: bytes | None
    key: bytes | None = None
    timestamp: int = 0
    headers: Sequence[Header] = field(default_factory=tuple)


@retry(
    retry=retry_if_exception_type(NoLeaderError),
    wait=wait_fixed(0.2),
    stop=stop_after_delay(TIMEOUT_MS / 1000),
    reraise=True,
)
def produce(host: str, port: int, topic: str, partition: int, record: Record) -> int:
    """Send one record to the leader of a partition, acknowledged by all replicas.

    Args:
        host: of the leader.
        port: of the leader.
        topic: it exists.
        partition: of the topic.
        record: as it shall lie in the log.

    Returns:
        Its offset.

    Raises:
        ProduceError: the broker answers with an error code.
        OSError: it does not answer.
    """
    batch = record_batch(record)
    body = struct.pack(">hhih", 0, 3, 1, len(CLIENT_ID)) + CLIENT_ID  # produce, v3, correlation
    body += struct.pack(">hhii", -1, ACKS_ALL, TIMEOUT_MS, 1)  # no transaction, one topic
    body += struct.pack(">h", len(topic)) + topic.encode()
    body += struct.pack(">iii", 1, partition, len(batch)) + batch
    with socket.create_connection((host, port), timeout=TIMEOUT_MS / 1000) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", _read(connection, 4))
        answer = _read(connection, size)
    # correlation, one topic and its name, one partition
    code, offset = struct.unpack_from(">hq", answer, 4 + 4 + 2 + len(topic) + 4 + 4)
    if code in NO_LEADER:
        raise NoLeaderError(f"{topic}/{partition}: error code {code}")
    if code:
        raise ProduceError(f"{topic}/{partition}: error code {code}")
    return int(offset)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (chunk := connection.recv(size - len(data))):
            raise ProduceError("the broker closed the connection")
        data += chunk
    return data


def record_batch(record: Record) -> bytes:
    """A record batch of one record, as it is stored."""
    headers = b"".join(_bytes(name) + _bytes(value) for name, value in record.headers)
    fields = b"\x00" + varint(0) + varint(0)  # attributes, and both deltas
    fields += _bytes(record.key) + _bytes(record.value) + varint(len(record.headers)) + headers
    at = record.timestamp
    rest = struct.pack(">hiqqqhii", 0, 0, at, at, -1, -1, -1, 1) + varint(len(fields)) + fields
    checked = struct.pack(">ibI", -1, 2, crc32c(rest)) + rest
    return struct.pack(">qi", 0, len(checked)) + checked


def _bytes(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def varint(number: int) -> bytes:
    """Zigzag, then seven bits a byte, the lowest first."""
    left, out = (number << 1) ^ (number >> 63), bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def _table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_CRC = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), reflected: the check sum of a record batch."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
