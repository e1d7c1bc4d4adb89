"""A log in a folder: the broker that ships for tests and trials, true to the real contract.

`MemoryBroker` appends; `format("storelake_memory")` with option `path` reads, batch and streaming.
It is a folder of JSON lines, since Spark plans in one process, reads in others, and the test writes
in a third. Not for production: one writer, no replication, no retention but `trim`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from streaming.connectors.log_source import (
    DataLossError,
    DenseLog,
    LogSource,
    Offsets,
    Partition,
    Range,
    ReadOptions,
    Subscription,
    to_arrow,
)
from streaming.source import SOURCE_SCHEMA

TIMESTAMP = SOURCE_SCHEMA.get_field_index("timestamp")


def _encode(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode("ascii")


def _decode(value: str | None) -> bytes | None:
    return None if value is None else base64.b64decode(value)


class MemoryBroker:
    """Writes topics below one folder; partitions are files, offsets are line numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create_topic(self, topic: str, partitions: int = 1) -> None:
        """Make a topic; more partitions may be added by a second call."""
        for number in range(partitions):
            self._file(topic, number).parent.mkdir(parents=True, exist_ok=True)
            self._file(topic, number).touch()

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
        """Append one message; it is readable when this returns."""
        line = {
            "key": _encode(key),
            "value": _encode(value),
            "timestamp": timestamp.isoformat(),
            "headers": [[k, _encode(v)] for k, v in headers] if headers else None,
        }
        with self._file(topic, partition).open("a", encoding="ascii") as file:
            file.write(json.dumps(line) + "\n")

    def trim(self, topic: str, partition: int, low: int) -> None:
        """Forget everything before offset `low`, as retention would."""
        self._file(topic, partition).with_suffix(".low").write_text(str(low), encoding="ascii")

    def _file(self, topic: str, partition: int) -> Path:
        return self.path / topic / f"{partition}.ndjson"


class MemoryLog(DenseLog):
    """`log_source.Log` over such a folder."""

    def __init__(self, path: Path, topics: Subscription) -> None:
        self._path, self._topics = path, topics

    def bounds(self) -> dict[Partition, tuple[int, int]]:
        """First and next offset of each partition; a topic without a folder is an error."""
        found: dict[Partition, tuple[int, int]] = {}
        for topic in self._topics.among(folder.name for folder in self._path.glob("*")):
            for file in sorted((self._path / topic).glob("*.ndjson")):
                low = file.with_suffix(".low")
                first = int(low.read_text(encoding="ascii")) if low.exists() else 0
                found[topic, int(file.stem)] = (first, file.read_bytes().count(b"\n"))
        return found

    def at_time(self, moment: datetime) -> Offsets:
        """By the messages' own timestamps."""
        return {
            (topic, number): next(
                (
                    offset
                    for offset, row in enumerate(self._rows(Range(topic, number, low, high)), low)
                    if row[TIMESTAMP] >= moment
                ),
                high,
            )
            for (topic, number), (low, high) in self.bounds().items()
        }

    def poll(self, position: Offsets, limit: int) -> tuple[pa.RecordBatch | None, Offsets]:
        """What is in the files after `position`."""
        ranges: list[Range] = []
        end: Offsets = {}
        left = limit
        for (topic, number), (low, high) in self.bounds().items():
            start = position.get((topic, number), 0)
            if not low <= start <= high:
                raise DataLossError(f"{topic}[{number}]: offset {start} is not in [{low}, {high})")
            stop = min(high, start + left)
            left -= stop - start
            end[topic, number] = stop
            ranges.append(Range(topic, number, start, stop))
        rows = [row for piece in ranges for row in self._rows(piece)]
        return (to_arrow(rows) if rows else None), end

    def fetch(self, ranges: Sequence[Range]) -> Iterator[pa.RecordBatch]:
        """All rows of the ranges."""
        bounds = self.bounds()
        for piece in ranges:
            low, _ = bounds[piece.topic, piece.partition]
            if piece.start < low:
                raise DataLossError(f"{piece.topic}[{piece.partition}]: {piece.start} < {low}")
            yield to_arrow(list(self._rows(piece)))

    def _rows(self, piece: Range) -> Iterator[tuple[Any, ...]]:
        file = self._path / piece.topic / f"{piece.partition}.ndjson"
        lines = file.read_text(encoding="ascii").splitlines()[piece.start : piece.end]
        for offset, line in enumerate(lines, piece.start):
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
        """Progress has no other reader here."""

    def close(self) -> None:
        """Nothing is held open."""


class MemorySource(LogSource):
    """`format("storelake_memory")`; options `path`, and those of `log_source.ReadOptions`."""

    @classmethod
    def name(cls) -> str:
        """The name to use in `format(...)`."""
        return "storelake_memory"

    def open_log(self) -> MemoryLog:
        """See `LogSource.open_log`."""
        return MemoryLog(Path(self.options["path"]), ReadOptions.parse(self.options).topics)
