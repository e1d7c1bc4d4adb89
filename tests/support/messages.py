"""Messages of a topic as source rows, and scenario folders that hold them as JSON.

`given.json` is a list of messages, `then.json` the result of each, in the same order. A message
has its value as `event` (an object, sent compact), `value` (text) or `base64` (bytes); without any
it is null. `then` has either the failed `rules` or columns of the good row.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa

from streaming.source import SOURCE_SCHEMA
from streaming.sources.rows import to_arrow

SCENARIOS = Path(__file__).parents[1] / "scenarios"
RECEIVED = datetime(2024, 5, 1, 10, 0, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Sent:
    """A message, received a second after the events of the builders happened."""

    value: bytes | None
    key: bytes | None = b"O-1"
    timestamp: datetime = RECEIVED


def to_rows(topic: str, messages: Iterable[Sent]) -> pa.Table:
    """Source rows; the position is the place in the list."""
    rows = [
        (m.key, m.value, topic, 0, f"{n:020d}", m.timestamp, None) for n, m in enumerate(messages)
    ]
    return pa.Table.from_batches([to_arrow(rows)], SOURCE_SCHEMA)


def cases(job: str) -> list[Path]:
    """The scenario folders of a job."""
    return sorted(p.parent for p in (SCENARIOS / job).glob("*/given.json"))


def read_case(case: Path) -> tuple[list[str], list[Sent], list[dict[str, Any]]]:
    """Descriptions of the messages, the messages, and their results."""
    given = json.loads((case / "given.json").read_text(encoding="utf-8"))
    then = json.loads((case / "then.json").read_text(encoding="utf-8"))
    return [m["about"] for m in given], [_sent(m) for m in given], then


def _sent(message: dict[str, Any]) -> Sent:
    value = None
    if "event" in message:
        value = json.dumps(message["event"], separators=(",", ":"), ensure_ascii=False).encode()
    elif "base64" in message:
        value = base64.b64decode(message["base64"])
    elif message.get("value") is not None:
        value = message["value"].encode()
    key = message.get("key", "O-1")
    timestamp = message.get("timestamp")
    return Sent(
        value,
        None if key is None else key.encode(),
        RECEIVED if timestamp is None else datetime.fromisoformat(timestamp),
    )
