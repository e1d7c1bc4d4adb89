"""What a proxy does to the traffic of Postgres, Kafka and S3: delays, errors, lost replies."""

from __future__ import annotations

import re
import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from typing_extensions import override

from verification.faults.proxy import AnswerInstead, ResetConnection, Tamper, whole_frames

CATALOG = "iceberg_tables"
PRODUCE = 0
"""api_key of a produce request: https://kafka.apache.org/protocol#protocol_api_keys"""

_COPY = re.compile(rb'COPY "(\w+)" FROM STDIN')
_CATALOG_UPDATE = re.compile(rb"UPDATE\s+\"?iceberg_tables")
_REQUEST = re.compile(rb"(PUT|GET|HEAD|POST|DELETE) (\S+) HTTP/1.1\r\n")
_ERRORS = {
    500: (b"500 Internal Server Error", b"InternalError"),
    503: (b"503 Service Unavailable", b"SlowDown"),
}


class Slow(Tamper):
    """Delays the first bytes of each answer.

    Args:
        seconds: that the answer to a request takes longer.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds, self._asked = seconds, set[object]()

    @override
    def request(self, link: object, data: bytes) -> bytes:
        self._asked.add(link)
        return data

    @override
    def response(self, link: object, data: bytes) -> bytes:
        if link in self._asked:
            self._asked.discard(link)
            self.fired.append("answer")
            time.sleep(self._seconds)  # the delay is the fault
        return data


class _OncePerName(Tamper):
    """Hits the traffic of each name once: a second hit would only delay the recovery."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: dict[object, str] = {}

    def hit(self, link: object) -> bool:
        """Whether the name that is pending on a connection is hit now, for the first time."""
        name = self.pending.pop(link, "")
        if not name or name in self.fired:
            return False
        self.fired.append(name)
        return True


class ResetInCopy(_OncePerName):
    """Resets a connection to Postgres in the middle of the rows of a COPY, once per table."""

    @override
    def request(self, link: object, data: bytes) -> bytes:
        if found := _COPY.search(data):
            self.pending[link] = found[1].decode()
        elif data[:1] == b"d" and self.hit(link):  # CopyData
            raise ResetConnection(data[: len(data) // 2])
        return data


class LostCommit(_OncePerName):
    """Postgres commits, and the reply is lost.

    Once per table that the transaction began to copy rows into, and once for Iceberg's catalog.
    """

    @override
    def request(self, link: object, data: bytes) -> bytes:
        if found := _COPY.search(data):
            self.pending.setdefault(link, found[1].decode())
        elif _CATALOG_UPDATE.search(data):
            self.pending.setdefault(link, CATALOG)
        return data

    @override
    def response(self, link: object, data: bytes) -> bytes:
        if b"COMMIT\0" in data and self.hit(link):
            raise ResetConnection
        return data


class LostProduce(Tamper):
    """Kafka appends a batch of records, and the acknowledgement is lost: once per topic.

    Args:
        topics: their names.
    """

    def __init__(self, topics: Iterable[str]) -> None:
        super().__init__()
        self._topics = {name: name.encode() for name in topics}
        self._kept: dict[object, bytes] = defaultdict(bytes)
        self._sent: dict[object, dict[int, str]] = defaultdict(dict)

    @override
    def request(self, link: object, data: bytes) -> bytes:
        frames, self._kept[link] = whole_frames(self._kept[link] + data)
        for frame in frames:
            api_key, _, correlation = struct.unpack_from(">hhi", frame)
            topic = next((n for n, text in self._topics.items() if text in frame), None)
            if api_key == PRODUCE and topic is not None:
                self._sent[link][correlation] = topic
        return data

    @override
    def response(self, link: object, data: bytes) -> bytes:
        for frame in whole_frames(data)[0]:
            topic = self._sent[link].pop(struct.unpack_from(">i", frame)[0], None)
            if topic is not None and topic not in self.fired:
                self.fired.append(topic)
                raise ResetConnection
        return data


class Unavailable(Tamper):
    """Answers each HTTP request of S3 by an error.

    Args:
        statuses: of the answers, in turn; some of 500 and 503.
    """

    def __init__(self, statuses: Sequence[int] = (500, 503)) -> None:
        super().__init__()
        self._errors = [_ERRORS[status] for status in statuses]

    @override
    def request(self, link: object, data: bytes) -> bytes:
        if not _REQUEST.match(data):
            return data
        status, code = self._errors[len(self.fired) % len(self._errors)]
        self.fired.append(status[:3].decode())
        body = b"<Error><Code>%b</Code></Error>" % code
        head = b"HTTP/1.1 %b\r\nContent-Type: application/xml\r\nConnection: close\r\n" % status
        raise AnswerInstead(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


class LostPut(_OncePerName):
    """S3 stores an object, and the reply is lost: once per table and kind of file."""

    @override
    def request(self, link: object, data: bytes) -> bytes:
        if found := _REQUEST.match(data):
            self.pending.pop(link, None)
            if found[1] == b"PUT":
                self.pending[link] = _object_kind(found[2].decode())
        return data

    @override
    def response(self, link: object, data: bytes) -> bytes:
        if data.startswith(b"HTTP/1.1 200") and self.hit(link):
            raise ResetConnection
        return data


def _object_kind(path: str) -> str:
    """The last two folders above a file, without those of partitions: `order_events/metadata`."""
    folders = [part for part in path.partition("?")[0].split("/")[:-1] if "=" not in part]
    return "/".join(folders[-2:])
