"""A sink that cannot hold some rows gets the others, each once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pyarrow as pa
import pytest

from streaming.progress import advance, fresh
from streaming.runtime import rejections
from streaming.stream import Batch

BAD = "?"


@dataclass
class MemorySink:
    """Commits rows with their positions, as Postgres does; refuses a set that holds a bad row."""

    rows: list[str] = field(default_factory=list)
    done: dict[tuple[str, int], str] = field(default_factory=dict)

    def __call__(self, batch: Batch) -> None:
        new = fresh(batch.rows, self.done)
        if BAD in new["text"].to_pylist():
            raise psycopg.errors.NumericValueOutOfRange
        self.rows += new["text"].to_pylist()
        self.done = advance(self.done, new)


@contextmanager
def writing(_: str) -> Iterator[None]:
    """A transaction that is never looked into."""
    yield


@dataclass(frozen=True)
class MemoryBatch:
    """A micro-batch whose database and metrics take everything."""

    rows: pa.Table
    stream: str = "order_status_tracker"
    db: Any = field(default_factory=lambda: SimpleNamespace(writing=writing))
    metrics: Any = field(default_factory=lambda: SimpleNamespace(refused=lambda *_: None))


@pytest.mark.parametrize(
    ("messages", "written", "refused"),
    [
        (["a", "b", BAD, "d", "e"], ["a", "b", "d", "e"], [BAD]),
        (["a", "bcdef", BAD], ["a", "b", "c", "d", "e", "f"], [BAD]),
        ([f"abc{BAD}", "efghi"], ["e", "f", "g", "h", "i"], ["a", "b", "c", BAD]),
    ],
    ids=["a row a message", "many rows of one message", "a bad message of many rows"],
)
def test_what_a_message_gave_is_written_or_refused_together(
    messages: list[str], written: list[str], refused: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aside: list[str] = []
    monkeypatch.setattr(
        rejections,
        "write_refused",
        lambda _, __, rows, *___: aside.extend(rows["text"].to_pylist()),
    )
    rows = [
        {"topic": "t", "partition": 0, "position": f"{n:020d}", "text": text}
        for n, texts in enumerate(messages)
        for text in texts
    ]
    sink = MemorySink()
    batch = cast(Batch, MemoryBatch(pa.Table.from_pylist(rows)))

    rejections.write_all(sink, batch, keeps_rejected=False)

    assert (sink.rows, aside) == (written, refused)
