"""Lag of the streams: the end offsets of the topics, queried from the brokers every few seconds.

Spark's progress does not contain it: its newest offset is the end of the batch that it planned. The
query uses a connection of its own, so it also works while a stream hangs or waits to retry.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from streaming.runtime.metrics import StreamMetrics
from streaming.sources.log import Log, Offsets

log = logging.getLogger("storelake.streams")

LOOK_SECONDS = 5.0

OpenLog = Callable[[str, Sequence[str]], Log]
"""(broker, topics) -> the log; it connects at first use."""


@dataclass
class _Reader:
    """Position of a query in one broker.

    Attributes:
        broker: its name.
        streams: that the query serves.
        at: the end of its newest batch; None before the first.
        log: the client that queries the end offsets; None until it connects.
    """

    broker: str
    streams: tuple[str, ...]
    at: Offsets | None = None
    log: Log | None = field(default=None, repr=False)


class LagWatch:
    """Queries the end offsets in a thread of its own.

    Args:
        metrics: receive the lag.
        open_log: connects to a broker.
    """

    def __init__(self, metrics: StreamMetrics, open_log: OpenLog) -> None:
        self._metrics, self._open = metrics, open_log
        self._readers: dict[str, list[_Reader]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lag", daemon=True)

    def moved(
        self, query: str, streams: Sequence[str], brokers: Sequence[str], ends: Sequence[Offsets]
    ) -> None:
        """Record that a query has finished a batch.

        Args:
            query: its name.
            streams: that it serves.
            brokers: of its sources, in their order.
            ends: the offsets of each source.
        """
        if query not in self._readers:
            # A query that was split is gone: its parts report their own streams.
            others = {
                name: readers
                for name, readers in self._readers.items()
                if not {s for r in readers for s in r.streams} & set(streams)
            }
            mine = [_Reader(broker, tuple(streams)) for broker in brokers]
            self._readers = {**others, query: mine}
        for reader, end in zip(self._readers[query], ends, strict=True):
            reader.at = end

    def look(self) -> None:
        """Query every broker once. The lag is unchanged where one does not answer."""
        silent = set()
        readers = [reader for of_query in list(self._readers.values()) for reader in of_query]
        for reader in readers:
            if reader.at is not None and reader.broker not in silent and not self._ask(reader):
                silent.add(reader.broker)
        asked = {reader.broker for reader in readers if reader.at is not None}
        for broker in asked:
            self._metrics.broker_up.labels(broker).set(broker not in silent)

    def start(self) -> None:
        """Call `look` every `LOOK_SECONDS` until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the connections."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        for readers in self._readers.values():
            for reader in readers:
                if reader.log is not None:
                    reader.log.close()

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.look()

    def _ask(self, reader: _Reader) -> bool:
        at = reader.at or {}
        try:
            if reader.log is None:
                reader.log = self._open(reader.broker, sorted({topic for topic, _ in at}))
            waiting = reader.log.behind(at)
        except Exception as error:  # of three client libraries; the next look tries again
            log.warning("lag query to %s failed: %s", reader.broker, error)
            # A topic that was created again has another id: the next look opens it again.
            opened, reader.log = reader.log, None
            if opened is not None:
                opened.close()
            return False
        for stream in reader.streams:
            self._metrics.behind(stream, reader.broker, waiting)
        return True
