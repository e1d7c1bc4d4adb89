"""A log in a folder: a broker for tests and trials with the same contract as the real ones.

`MemoryBroker` appends; `format("storelake_memory")` with option `path` reads, batch and streaming.
It is a folder of JSON lines, since Spark plans in one process, reads in others, and the test writes
in a third. Not for production: one writer, no replication, no retention but `trim`.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from streaming.source import GENERATION, SOURCE_SCHEMA
from streaming.sources.log import (
    DenseLog,
    Limit,
    Offsets,
    Partition,
    Range,
    TopicRemadeError,
    lost_offset,
)
from streaming.sources.options import Generation, ReadOptions, Subscription
from streaming.sources.read_ahead import ReadAhead
from streaming.sources.readers import LogSource
from streaming.sources.rows import Row, message_bytes, to_arrow, to_batches

POSITION = SOURCE_SCHEMA.get_field_index("position")

ID_FILE = "id"
"""File beside the partitions of a topic, with its unique id."""


@contextmanager
def _locked(folder: Path, operation: int) -> Iterator[None]:
    """Lock the folder itself: alone to make messages visible at once, shared to look for them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _encode(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode("ascii")


def _decode(value: str | None) -> bytes | None:
    return None if value is None else base64.b64decode(value)


class MemoryBroker:
    """Writes topics below one folder; partitions are files, offsets are line numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create_topic(self, topic: str, partitions: int = 1) -> None:
        """Create a topic; a second call may add partitions."""
        for number in range(partitions):
            self._file(topic, number).parent.mkdir(parents=True, exist_ok=True)
            self._file(topic, number).touch()
        identity = self.path / topic / ID_FILE
        if not identity.exists():
            identity.write_text(uuid.uuid4().hex, encoding="ascii")

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with its messages; one created again under its name has another id."""
        shutil.rmtree(self.path / topic)

    def produce(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        partition: int = 0,
        timestamp: datetime,
        headers: Sequence[tuple[str, bytes]] | None = None,
    ) -> None:
        """Append one message; readers see it when this returns."""
        line = {
            "key": _encode(key),
            "value": _encode(value),
            "timestamp": timestamp.isoformat(),
            "headers": [[k, _encode(v)] for k, v in headers] if headers else None,
        }
        with self._file(topic, partition).open("a", encoding="ascii") as file:
            file.write(json.dumps(line) + "\n")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Readers see all messages that are produced within, or none: one micro-batch has them."""
        with _locked(self.path, fcntl.LOCK_EX):
            yield

    def trim(self, topic: str, partition: int, low: int) -> None:
        """Expire everything before offset `low`, as retention would."""
        self._file(topic, partition).with_suffix(".low").write_text(str(low), encoding="ascii")

    def _file(self, topic: str, partition: int) -> Path:
        return self.path / topic / f"{partition}.ndjson"


class MemoryLog(DenseLog):
    """`log_source.Log` over such a folder.

    Args:
        path: the folder.
        topics: to read.
        generations: of the topics whose ids are checked.
    """

    def __init__(
        self,
        path: Path,
        topics: Subscription,
        generations: Mapping[str, Generation] | None = None,
    ) -> None:
        self._path, self._topics = path, topics
        self._generations = dict(generations or {})

    def _names(self) -> list[str]:
        return self._topics.among(folder.name for folder in self._path.glob("*"))

    def topic_ids(self) -> dict[str, str]:
        """The ids that `MemoryBroker` gave the topics."""
        files = {topic: self._path / topic / ID_FILE for topic in self._names()}
        return {t: f.read_text(encoding="ascii") for t, f in files.items() if f.exists()}

    def _base(self, topic: str) -> int:
        known = self._generations.get(topic)
        return known.number * GENERATION if known else 0

    def _verify(self) -> None:
        ids = self.topic_ids()
        for topic, known in self._generations.items():
            if ids.get(topic, known.topic_id) != known.topic_id:
                raise TopicRemadeError(f"topic {topic} was deleted and made again")

    def bounds(self) -> dict[Partition, tuple[int, int]]:
        """First and next offset of each partition; a topic without a folder is an error."""
        found: dict[Partition, tuple[int, int]] = {}
        names = self._names()
        with _locked(self._path, fcntl.LOCK_SH):
            for topic in names:
                base = self._base(topic)
                for file in sorted((self._path / topic).glob("*.ndjson")):
                    low = file.with_suffix(".low")
                    first = int(low.read_text(encoding="ascii")) if low.exists() else 0
                    lines = file.read_bytes().count(b"\n")
                    found[topic, int(file.stem)] = (base + first, base + lines)
        self._verify()
        return found

    def poll(self, position: Offsets, limit: Limit) -> tuple[pa.RecordBatch | None, Offsets]:
        """Rows in the files after `position`."""
        bounds = self.bounds()
        start = {p: position.get(p, self.origin(high)) for p, (_, high) in bounds.items()}
        self._compare(start, bounds)
        most = {p: min(high, start[p] + limit.rows) for p, (_, high) in bounds.items()}
        rows, end = self._ahead(start, most).within(limit)
        return (to_arrow(rows) if rows else None), end

    def _ahead(self, start: Offsets, end: Offsets) -> ReadAhead[Row]:
        ahead = ReadAhead[Row](start)
        for (topic, number), stop in end.items():
            for row in self._rows(Range(topic, number, start[topic, number], stop)):
                size = message_bytes(row[0], row[1], row[-1])
                ahead.add((topic, number), int(row[POSITION]), size, row)
        return ahead

    def _within(self, start: Offsets, end: Offsets, most: int) -> Offsets:
        """Read the files."""
        return self._ahead(start, end).within(Limit(sum(end.values()), most), end)[1]

    def fetch(self, ranges: Sequence[Range]) -> Iterator[pa.RecordBatch]:
        """All rows of the ranges."""
        bounds = self.bounds()
        for piece in ranges:
            low, high = bounds[piece.topic, piece.partition]
            if piece.start < low:
                raise lost_offset((piece.topic, piece.partition), piece.start, low, high)
        yield from to_batches(row for piece in ranges for row in self._rows(piece))
        self._verify()

    def _rows(self, piece: Range) -> Iterator[Row]:
        file = self._path / piece.topic / f"{piece.partition}.ndjson"
        base = self._base(piece.topic)
        lines = file.read_text(encoding="ascii").splitlines()
        for offset, line in enumerate(lines[piece.start - base : piece.end - base], piece.start):
            message = json.loads(line)
            headers = message["headers"]
            yield (
                _decode(message["key"]),
                _decode(message["value"]),
                piece.topic,
                piece.partition,
                f"{offset:020d}",
                datetime.fromisoformat(message["timestamp"]),
                [{"key": k, "value": _decode(v)} for k, v in headers] if headers else None,
            )

    def commit(self, offsets: Offsets) -> None:
        """Nothing to do: no tool reads committed offsets."""

    def close(self) -> None:
        """Nothing to do: no connection is open."""


class MemorySource(LogSource):
    """`format("storelake_memory")`; option `path`, and those of `ReadOptions`."""

    @classmethod
    def name(cls) -> str:
        """The name to use in `format(...)`."""
        return "storelake_memory"

    def connect(self, options: ReadOptions) -> MemoryLog:
        """Option `path` is the folder."""
        return MemoryLog(Path(options.required("path")), options.topics, options.generations)
