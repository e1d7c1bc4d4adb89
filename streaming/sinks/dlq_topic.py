"""Sends rejected messages to the DLQ topic, with the failed rules in the headers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone

import pyarrow as pa

from conf.settings import KafkaSettings
from streaming.dlq_ids import ORIGIN_HEADER
from streaming.sinks.kafka_producer import DlqMessage, send_messages

ROWS_AT_ONCE = 100
"""Rows whose values are in memory twice at a time."""


def to_messages(rejected: pa.Table, stream: str, at: datetime) -> Iterator[DlqMessage]:
    """Quarantine rows -> (key, value, headers): the original ones, with headers for the rejection.

    Args:
        rejected: quarantine rows.
        stream: that rejected them.
        at: time of the rejection (UTC).
    """
    parts = rejected.to_batches(max_chunksize=ROWS_AT_ONCE)
    for row in (row for part in parts for row in part.to_pylist()):
        headers: list[tuple[str, str | bytes | None]] = [
            (h["key"], h["value"]) for h in row["headers"] or []
        ]
        origin = f"{row['topic']}/{row['partition']}/{row['position']}"
        headers += [
            (ORIGIN_HEADER, origin.encode()),
            ("storelake-rules", json.dumps(row["rules"]).encode()),
            ("storelake-stream", stream.encode()),
            ("storelake-rejected-at", _instant(at).encode()),
        ]
        yield row["key"], row["value"], headers


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def send_dead_letters(kafka: KafkaSettings, stream: str, rejected: pa.Table) -> int:
    """Send quarantine rows to the DLQ topic; returns when all are acknowledged."""
    if not rejected.num_rows:
        return 0
    return send_messages(kafka, to_messages(rejected, stream, datetime.now(timezone.utc)))
