"""Buffer of messages that a planner has read ahead, by partition; no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from streaming.sources.log import Limit, Offsets, Partition

M = TypeVar("M")
_Entry = tuple[int, int, M]
"""Offset, bytes, message."""


class ReadAhead(Generic[M]):
    """Keeps messages in the order of each partition, and cuts batches by rows and bytes.

    Args:
        start: offsets where reading begins; None: not set yet.

    Attributes:
        start: offsets of the first message that no batch has taken.
        rows: messages that are held.
        bytes: of these.
    """

    def __init__(self, start: Offsets | None = None) -> None:
        self.start = start
        self._waiting: dict[Partition, deque[_Entry[M]]] = {p: deque() for p in start or ()}
        self._seen: Offsets = dict(start or {})
        self.rows = self.bytes = 0

    @property
    def seen(self) -> Offsets:
        """Offsets of the next messages to add."""
        return dict(self._seen)

    def add(self, partition: Partition, offset: int, size: int, message: M) -> None:
        """Add the next message of a partition; `size` in bytes."""
        self._waiting[partition].append((offset, size, message))
        self._seen[partition] = offset + 1
        self.rows += 1
        self.bytes += size

    def ends(self, partition: Partition, offset: int) -> None:
        """Record that all messages of the partition before this offset were added."""
        self._seen[partition] = max(self._seen[partition], offset)

    def holds(self, end: Offsets, most: int) -> bool:
        """Whether the added messages fill a batch up to `end`, or of `most` bytes."""
        if self.bytes >= most and any(
            line and line[0][0] < end.get(p, 0) for p, line in self._waiting.items()
        ):
            return True
        return all(self._seen[p] >= offset for p, offset in end.items())

    def within(
        self, limit: Limit, end: Mapping[Partition, int] | None = None
    ) -> tuple[list[M], Offsets]:
        """The first messages of all partitions in turn, and the offsets after them.

        A batch that takes all of them ends where reading stands: behind the offsets without a
        message (compaction, transactions), and not behind messages that were not added yet.

        Args:
            limit: of the batch; a first message that is larger is taken alone.
            end: latest end of the batch, by partition; None: of the added messages.
        """
        reached = dict(self.start or {})
        taken: list[M] = []
        size = 0
        for partition, (offset, more, message) in self._in_turn(end):
            if taken and (len(taken) == limit.rows or size + more > limit.bytes):
                return taken, reached
            taken.append(message)
            size += more
            reached[partition] = offset + 1
        latest = self._seen if end is None else end
        return taken, {p: min(seen, latest[p]) for p, seen in self._seen.items()}

    def _in_turn(
        self, end: Mapping[Partition, int] | None
    ) -> Iterator[tuple[Partition, _Entry[M]]]:
        lines = deque((p, iter(line)) for p, line in self._waiting.items())
        while lines:
            partition, line = lines.popleft()
            entry = next(line, None)
            if entry is not None and (end is None or entry[0] < end[partition]):
                yield partition, entry
                lines.append((partition, line))

    def drop(self, reached: Offsets) -> None:
        """Drop the messages before these offsets: a batch has them."""
        for partition, line in self._waiting.items():
            while line and line[0][0] < reached[partition]:
                self.bytes -= line.popleft()[1]
                self.rows -= 1
        self.start = dict(reached)
