"""A recorded day: the messages in the order of their arrival, and the rows of every output table.

The recording (NDJSON in an .xz file) has one object a line: first the messages, each with the
number of the micro-batch that it came in, then the rows. Rows lack `RUN_COLUMNS`, which differ
from run to run.
"""

from __future__ import annotations

import json
import lzma
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from difflib import ndiff
from hashlib import sha256
from pathlib import Path
from typing import Any

RUN_COLUMNS = frozenset(
    {"updated_at", "recorded_at", "rejected_at", "resolved_at", "change_id", "revision", "seq"}
    | {"orders_change_id", "footfall_change_id", "visits_change_id"}
)
"""Columns that depend on the wall clock, or on a counter of the deployment."""

LONGEST = 4096
"""Longer bytes are recorded by their hash, so that a report stays readable."""

SHOWN = 8
"""Maximum number of missing, and of unexpected, rows in a report."""


@dataclass(frozen=True)
class Message:
    """A message of a topic; `timestamp` is when it reached the broker (UTC)."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    timestamp: datetime
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Recording:
    """What streams got, and what they made of it.

    Attributes:
        batches: the messages of each micro-batch, in the order of arrival.
        tables: name of a table -> its rows as text, sorted.
    """

    batches: Sequence[Sequence[Message]]
    tables: Mapping[str, Sequence[str]]

    def write(self, file: Path) -> None:
        """Write the recording; the same one gives the same bytes."""
        lines = [
            json.dumps([number, *_cells(message)])
            for number, batch in enumerate(self.batches)
            for message in batch
        ]
        lines += [json.dumps([name, row]) for name, rows in self.tables.items() for row in rows]
        file.write_bytes(lzma.compress("\n".join(lines).encode(), preset=lzma.PRESET_EXTREME | 9))

    @staticmethod
    def read(file: Path) -> Recording:
        """Read what `write` has written."""
        batches: dict[int, list[Message]] = {}
        tables: dict[str, list[str]] = {}
        for line in lzma.decompress(file.read_bytes()).splitlines():
            home, *cells = json.loads(line)
            if isinstance(home, int):
                batches.setdefault(home, []).append(_message(cells))
            else:
                tables.setdefault(home, []).append(cells[0])
        return Recording(list(batches.values()), tables)


def row_texts(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rows as JSON with sorted columns, without `RUN_COLUMNS`; floats to nine decimals; sorted."""
    kept = ({k: _rounded(v) for k, v in row.items() if k not in RUN_COLUMNS} for row in rows)
    return sorted(json.dumps(row, default=_text, sort_keys=True) for row in kept)


def _rounded(value: Any) -> Any:
    return round(value, 9) if isinstance(value, float) else value


def difference(expected: Sequence[str], actual: Sequence[str]) -> str:
    """The rows that differ, with the differing characters marked; empty when none does."""
    missing = sorted((Counter(expected) - Counter(actual)).elements())
    unexpected = sorted((Counter(actual) - Counter(expected)).elements())
    if not missing and not unexpected:
        return ""
    rows = "\n".join(line.rstrip("\n") for line in ndiff(missing[:SHOWN], unexpected[:SHOWN]))
    return f"{len(missing)} rows are missing (-), {len(unexpected)} are unexpected (+):\n{rows}"


def _text(value: Any) -> str:
    """A value that JSON does not have, as text: times in UTC, bytes as UTF-8 or by their hash."""
    if isinstance(value, bytes):
        return _decoded(value) if len(value) <= LONGEST else sha256(value).hexdigest()
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(timezone.utc).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"no text for a {type(value).__name__}")


def _cells(message: Message) -> list[Any]:
    key, value = (None if b is None else _decoded(b) for b in (message.key, message.value))
    headers = [(name, _decoded(header)) for name, header in message.headers]
    return [message.topic, message.partition, key, value, message.timestamp.isoformat(), headers]


def _message(cells: Sequence[Any]) -> Message:
    topic, partition, key, value, timestamp, headers = cells
    return Message(
        topic,
        partition,
        None if key is None else _encoded(key),
        None if value is None else _encoded(value),
        datetime.fromisoformat(timestamp),
        tuple((name, _encoded(header)) for name, header in headers),
    )


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
