"""How far the streams are behind: the ends of the topics, asked from the brokers every so often.

Spark's progress cannot tell: its newest offset is the end of the batch that it planned. The answer
comes from a connection of its own, so that it also comes while a stream hangs or waits to retry.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from streaming.metrics import StreamMetrics
from streaming.sources.log import Log, Offsets

log = logging.getLogger("storelake.streams")

LOOK_SECONDS = 5.0

OpenLog = Callable[[str, Sequence[str]], Log]
"""(broker, topics) -> the log; it connects at first use."""


@dataclass
class _Reader:
    """Where a query stands in one broker.

    Attributes:
        broker: its name.
        streams: that the query serves.
        at: the end of its newest batch; None before the first.
        log: to ask for what waits.
    """

    broker: str
    streams: tuple[str, ...]
    at: Offsets | None = None
    log: Log | None = field(default=None, repr=False)


class LagWatch:
    """Asks the brokers in a thread of its own.

    Args:
        metrics: where the answers go.
        open_log: how to reach a broker.
    """

    def __init__(self, metrics: StreamMetrics, open_log: OpenLog) -> None:
        self._metrics, self._open = metrics, open_log
        self._readers: dict[str, list[_Reader]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lag", daemon=True)

    def moved(
        self, query: str, streams: Sequence[str], brokers: Sequence[str], ends: Sequence[Offsets]
    ) -> None:
        """A query has finished a batch that ends there.

        Args:
            query: its name.
            streams: that it serves.
            brokers: of its sources, in their order.
            ends: the offsets of each source.
        """
        if query not in self._readers:
            # A query that was split is gone: each of its parts tells of its own streams.
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
        """Ask every broker once. One that does not answer leaves the lag as it was last known."""
        silent = set()
        readers = [reader for of_query in list(self._readers.values()) for reader in of_query]
        for reader in readers:
            if reader.at is not None and reader.broker not in silent and not self._ask(reader):
                silent.add(reader.broker)
        asked = {reader.broker for reader in readers if reader.at is not None}
        for broker in asked:
            self._metrics.broker_up.labels(broker).set(broker not in silent)

    def start(self) -> None:
        """Look every so often until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and leave the brokers."""
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
            log.warning("%s does not tell what waits: %s", reader.broker, error)
            # A topic that was made again is known by another id: the next look opens it again.
            opened, reader.log = reader.log, None
            if opened is not None:
                opened.close()
            return False
        for stream in reader.streams:
            self._metrics.behind(stream, reader.broker, waiting)
        return True
