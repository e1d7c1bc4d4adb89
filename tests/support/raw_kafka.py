"""A Kafka producer of what no client for Python sends: names of headers that are no UTF-8."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import confluent_kafka

# Of rd_kafka_vtype_t: https://docs.confluent.io/platform/current/clients/librdkafka/html/rdkafka_8h.html
_END, _TOPIC, _PARTITION, _VALUE, _KEY, _MSGFLAGS, _TIMESTAMP, _HEADER = 0, 1, 3, 4, 5, 7, 8, 9
_COPY, _PRODUCER = 0x2, 0


def _library() -> Any:
    folder = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    (path,) = folder.glob("librdkafka-*.so*")
    found = ctypes.CDLL(str(path))
    found.rd_kafka_conf_new.restype = ctypes.c_void_p
    found.rd_kafka_new.restype = ctypes.c_void_p
    return found


def send_raw(
    bootstrap: str,
    topic: str,
    value: bytes,
    key: bytes,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    millis: int = 0,
) -> None:
    """Send one message to partition 0; names of headers are bytes without NUL. `millis` 0: now."""
    library, why = _library(), ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(conf, b"bootstrap.servers", bootstrap.encode(), why, 512)
    handle = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, conf, why, 512))
    assert handle, why.value
    parts: list[Any] = [_TOPIC, ctypes.c_char_p(topic.encode()), _PARTITION, ctypes.c_int32(0)]
    parts += [_VALUE, ctypes.c_char_p(value), ctypes.c_size_t(len(value))]
    parts += [_KEY, ctypes.c_char_p(key), ctypes.c_size_t(len(key)), _MSGFLAGS, _COPY]
    parts += [_TIMESTAMP, ctypes.c_int64(millis)]
    for name, content in headers:
        parts += [_HEADER, ctypes.c_char_p(name), ctypes.c_char_p(content)]
        parts += [ctypes.c_ssize_t(len(content))]
    assert library.rd_kafka_producev(handle, *parts, _END) == 0
    assert library.rd_kafka_flush(handle, 20_000) == 0
    library.rd_kafka_destroy(handle)
