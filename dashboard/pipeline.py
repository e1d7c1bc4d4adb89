"""Health of each stream, by its reported status and by what it has committed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, cast, get_args

from conf.settings import Settings
from dashboard.board import ReadFault, Snapshot
from dashboard.queries import LATENCY, LEDGER, OFFSETS, BatchLedger, Latency, Offset
from dashboard.streams import Reported, lag
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
        ledger: None before it has committed a batch, and for streams of the lake.
    """

    stream: StreamEntry
    health: Health
    detail: str
    failures: int
    batches: int | None
    lag: int | None
    lag_note: str
    latency: Latency | None
    ledger: BatchLedger | None


def streams_now(
    settings: Settings,
    snapshot: Snapshot,
    *,
    ledger: Sequence[BatchLedger],
    offsets: Sequence[Offset],
    latency: Sequence[Latency],
) -> list[StreamNow]:
    """Every stream of the product."""
    committed = {row.stream: row for row in ledger}
    delays = {row.stream: row for row in latency}
    found = []
    for stream in STREAMS:
        waiting, note = _lag(settings, snapshot, stream, offsets)
        status = snapshot.reported.streams.get(stream.name) if snapshot.reported else None
        found.append(
            StreamNow(
                stream=stream,
                health=_health(
                    snapshot.reported, stream.name, snapshot.at, settings.console.stale_after
                ),
                detail=str(status.get("detail", "")) if status else "",
                failures=int(status["failures"]) if status else 0,
                batches=int(status["finished_batches"]) if status else None,
                lag=waiting,
                lag_note=note,
                latency=delays.get(stream.name),
                ledger=committed.get(stream.name),
            )
        )
    return found


def pipeline_now(settings: Settings, snapshot: Snapshot) -> list[StreamNow] | ReadFault:
    """The same from a snapshot; the fault where a table that it needs cannot be read."""
    ledger, offsets = snapshot.rows(LEDGER), snapshot.rows(OFFSETS)
    latency = snapshot.rows(LATENCY)
    if isinstance(ledger, ReadFault):
        return ledger
    if isinstance(offsets, ReadFault):
        return offsets
    if isinstance(latency, ReadFault):
        return latency
    return streams_now(settings, snapshot, ledger=ledger, offsets=offsets, latency=latency)


def _health(reported: Reported | None, name: str, now: datetime, stale_after: timedelta) -> Health:
    if reported is None or name not in reported.streams:
        return "stopped"
    if now - reported.at > stale_after:
        return "silent"
    status = reported.streams[name]
    if (state := status.get("state")) in get_args(Health):
        return cast("Health", state)
    if status["failures"]:  # an application without states
        return "retrying"
    return "running" if status["ready"] else "starting"


def _lag(
    settings: Settings, snapshot: Snapshot, stream: StreamEntry, offsets: Sequence[Offset]
) -> tuple[int | None, str]:
    if stream.reads is None:
        return None, "reads tables, not messages"
    if stream.ledger == "lake":
        return None, "its positions are only in the lake"
    topics = stream.topics(settings)
    if not topics:
        return None, "Pulsar's positions cannot be counted"
    if isinstance(snapshot.ends, ReadFault):
        return None, "not known"
    waiting = lag(snapshot.ends, offsets, stream.name, topics)
    return waiting, "" if waiting is not None else "has written nothing yet"
