"""Health of each stream, by its reported status and by what it has committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from dashboard.board import ReadError, Snapshot
from dashboard.streams import lag
from streaming.registry import STREAMS, StreamEntry

Health = Literal["running", "starting", "retrying", "stalled", "failed", "stopped", "silent"]


@dataclass(frozen=True)
class StreamNow:
    """One stream.

    Attributes:
        health: stopped: no application runs it; retrying: its last batch failed; stalled: its
            batch does not end; failed: it failed too often in a row; silent: its application has
            not reported its status for long.
        detail: what is wrong, in one sentence; empty while nothing is.
        failures: in a row.
        batches: finished since the application began; None where it does not run.
        lag: messages that wait; None where it is not known, which `lag_note` explains.
        latency: its row of `latency`; None where there is none, which `latency_note` explains.
        ledger: its row of `stream_batches`; None before a batch, and for streams of the lake.
    """

    stream: StreamEntry
    health: Health
    detail: str
    failures: int
    batches: int | None
    lag: int | None
    lag_note: str
    latency: Any | None
    latency_note: str
    ledger: Any | None


def pipeline_now(snapshot: Snapshot) -> list[StreamNow]:
    """Every stream of the product.

    Raises:
        ReadError: a table that it needs cannot be read.
    """
    ledger = {row.stream: row for row in snapshot.rows("stream_batches")}
    offsets, reported = snapshot.rows("stream_offsets"), snapshot.reported
    found = []
    for stream in STREAMS:
        waiting, note = _lag(snapshot, stream, offsets)
        latency, latency_note = _latency(snapshot, stream)
        status = reported.streams.get(stream.name) if reported else None
        found.append(
            StreamNow(
                stream=stream,
                health=health_of(snapshot, stream.name),
                detail=detail_of(snapshot, stream.name),
                failures=int(status["failures"]) if status else 0,
                batches=int(status["finished_batches"]) if status else None,
                lag=waiting,
                lag_note=note,
                latency=latency,
                latency_note=latency_note,
                ledger=ledger.get(stream.name),
            )
        )
    return found


def health_of(snapshot: Snapshot, name: str) -> Health:
    """State of a stream, by what its application reports: no query is needed."""
    reported = snapshot.reported
    if reported is None or name not in reported.streams:
        return "stopped"
    if snapshot.at - reported.at > snapshot.settings.console.stale_after:
        return "silent"
    status = reported.streams[name]
    if (state := status.get("state")) in get_args(Health):
        return cast("Health", state)
    if status["failures"]:  # an application without states
        return "retrying"
    return "running" if status["ready"] else "starting"


def detail_of(snapshot: Snapshot, name: str) -> str:
    """What is wrong with a stream, in one sentence; empty while nothing is."""
    status = snapshot.reported.streams.get(name) if snapshot.reported else None
    return str(status.get("detail", "")) if status else ""


def _latency(snapshot: Snapshot, stream: StreamEntry) -> tuple[Any | None, str]:
    rows = snapshot.answers["latency"]
    if isinstance(rows, ReadError):
        return None, "cannot be read"
    row = next((row for row in rows if row.stream == stream.name), None)
    if row is None:
        return None, "not in Postgres"
    return (None, "no row in 15 min") if row.p50 is None else (row, "")


def _lag(snapshot: Snapshot, stream: StreamEntry, offsets: Sequence[Any]) -> tuple[int | None, str]:
    if stream.reads is None:
        return None, "reads tables, not messages"
    if stream.ledger == "lake":
        return None, "its positions are only in the lake"
    topics = stream.topics(snapshot.settings)
    if not topics:
        return None, "Pulsar's positions cannot be counted"
    if isinstance(snapshot.ends, ReadError):
        return None, "not known"
    waiting = lag(snapshot.ends, offsets, stream.name, topics)
    return waiting, "" if waiting is not None else "has written nothing yet"
