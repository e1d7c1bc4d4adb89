"""The list of streams is what the jobs and the tables declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from streaming import jobs
from streaming.jobs import find_streams
from streaming.lake.tables import TABLES
from streaming.registry import NAMES, STREAMS, StreamEntry
from streaming.stream import DETECTIONS, ORDERS, ORDERS_AND_HEARTBEATS

every_stream = pytest.mark.parametrize("entry", STREAMS, ids=NAMES)


def test_every_module_of_the_jobs_is_a_stream() -> None:
    modules = {file.stem for file in Path(jobs.__path__[0]).glob("*.py")} - {"__init__"}
    assert modules == set(NAMES)


@every_stream
def test_the_job_reads_and_keeps_what_the_list_declares(entry: StreamEntry) -> None:
    (job,) = find_streams((entry.name,))
    assert job.name == entry.name
    assert (job.source is not None) == (entry.reads is not None)
    if job.source:
        assert (job.state is not None) == entry.stateful
        sources = {"orders": (ORDERS, ORDERS_AND_HEARTBEATS), "detections": (DETECTIONS,)}
        assert job.source in sources[str(entry.reads)]


@every_stream
def test_a_table_of_rejected_rows_has_its_stream_as_writer(entry: StreamEntry) -> None:
    lake = {table.name for table in TABLES if table.writer == entry.name}
    if entry.dead_letters and "." in entry.dead_letters:
        assert entry.dead_letters in lake
    assert bool(entry.dead_letters) == any(name.startswith("quarantine.") for name in lake)


@every_stream
def test_positions_are_in_the_lake_where_a_stream_serves_no_table(entry: StreamEntry) -> None:
    assert (entry.ledger == "postgres") == bool(entry.serving)
