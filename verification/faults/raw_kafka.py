"""Kafka records that no client for Python sends, by librdkafka: any bytes as names of headers."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import confluent_kafka

# Of rd_kafka_vtype_t: https://docs.confluent.io/platform/current/clients/librdkafka/html/rdkafka_8h.html
_END, _TOPIC, _PARTITION, _VALUE, _KEY, _MSGFLAGS, _TIMESTAMP, _HEADER = 0, 1, 3, 4, 5, 7, 8, 9
_COPY, _PRODUCER = 0x2, 0
TIMEOUT_MS = 10_000

Header = tuple[bytes, "bytes | None"]


class ProduceError(Exception):
    """The broker rejects a record, or does not respond."""


@dataclass(frozen=True)
class Record:
    """One message.

    Attributes:
        value, key: None for a null.
        timestamp: milliseconds since 1970, any number of 64 bits; 0 for now.
        headers: name (any bytes without NUL) and value.
    """

    value: bytes | None
    key: bytes | None = None
    timestamp: int = 0
    headers: Sequence[Header] = field(default_factory=tuple)


class _Message(ctypes.Structure):
    """rd_kafka_message_t."""

    _fields_ = (
        ("error", ctypes.c_int),
        ("topic", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("payload", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_length", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("private", ctypes.c_void_p),
    )


_Delivered = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(_Message), ctypes.c_void_p)


@cache
def _library() -> Any:
    folder = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    (path,) = folder.glob("librdkafka-*.so*")
    found = ctypes.CDLL(str(path))
    found.rd_kafka_conf_new.restype = ctypes.c_void_p
    found.rd_kafka_new.restype = ctypes.c_void_p
    found.rd_kafka_err2str.restype = ctypes.c_char_p
    return found


def produce(client: Mapping[str, Any], topic: str, record: Record, partition: int = 0) -> int:
    """Send one record; returns its offset.

    Args:
        client: options of librdkafka (`conf.kafka.connection_config`).
        topic: that receives it.
        record: to send.
        partition: of the topic.

    Raises:
        ProduceError: the broker rejects it, or does not respond within ten seconds.
    """
    library, why = _library(), ctypes.create_string_buffer(512)
    outcome: list[tuple[int, int]] = []

    def delivered(_: int, message: Any, __: int) -> None:
        outcome.append((message.contents.error, message.contents.offset))

    callback = _Delivered(delivered)  # referenced until the end of the function
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    for name, value in {**client, "message.timeout.ms": str(TIMEOUT_MS)}.items():
        library.rd_kafka_conf_set(conf, name.encode(), value.encode(), why, 512)
    library.rd_kafka_conf_set_dr_msg_cb(conf, callback)
    handle = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, conf, why, 512))
    if not handle:
        raise ProduceError(why.value.decode())
    try:
        error = library.rd_kafka_producev(handle, *_arguments(topic, partition, record))
        if not error:
            library.rd_kafka_flush(handle, 2 * TIMEOUT_MS)
            error, offset = outcome[0] if outcome else (-185, -1)  # timed out
    finally:
        library.rd_kafka_destroy(handle)
    if error:
        raise ProduceError(f"{topic}/{partition}: {library.rd_kafka_err2str(error).decode()}")
    return offset


def _arguments(topic: str, partition: int, record: Record) -> list[Any]:
    parts = [_TOPIC, ctypes.c_char_p(topic.encode()), _PARTITION, ctypes.c_int32(partition)]
    for kind, content in ((_VALUE, record.value), (_KEY, record.key)):
        parts += [kind, ctypes.c_char_p(content), ctypes.c_size_t(len(content or b""))]
    parts += [_MSGFLAGS, _COPY, _TIMESTAMP, ctypes.c_int64(record.timestamp)]
    for name, content in record.headers:
        parts += [_HEADER, ctypes.c_char_p(name), ctypes.c_char_p(content)]
        parts.append(ctypes.c_ssize_t(len(content or b"")))
    return [*parts, _END]
