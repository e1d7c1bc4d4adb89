"""Status and lag of the streams.

A stream that writes Postgres keeps its positions and its batches there; the others keep them in the
lake, which the console does not open. The running application writes its status to
`<var>/run/streams.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, TopicPartition, admin

from conf.kafka import Rejections, client_config, open_client
from conf.settings import KafkaSettings
from infra.local.state_files import UnreadableStateError
from infra.local.streams import read_streams
from streaming.source import broker_offset

KAFKA_SECONDS = 2.0
Ends = Mapping[tuple[str, int], int]
"""(topic, partition) -> the position that the next message will get."""


@dataclass(frozen=True)
class Reported:
    """Status of the streams as reported by the Spark application, and when (UTC)."""

    at: datetime
    streams: Mapping[str, Mapping[str, Any]]


def read_reported(var_dir: Path) -> Reported | None:
    """Status of the running application; None where none runs, even if a killed one left a file.

    A file that cannot be read gives None, too: a running application rewrites it twice a second.
    """
    with suppress(KeyError, TypeError, UnreadableStateError):
        if reported := read_streams(var_dir):
            return Reported(
                datetime.fromtimestamp(reported["at"], timezone.utc), dict(reported["streams"])
            )
    return None


def lag(ends: Ends, offsets: Sequence[Any], stream: str, topics: Sequence[str]) -> int | None:
    """Messages that wait for a stream; None before it has written any.

    A message that a stream reads and ignores does not move its position: where messages are rare,
    some of those remain in the count.
    """
    done = {
        (o.topic, o.partition): broker_offset(o.position) for o in offsets if o.stream == stream
    }
    if not any(topic in topics for topic, _ in done):
        return None
    return sum(
        max(0, end - done.get((topic, partition), -1) - 1)
        for (topic, partition), end in ends.items()
        if topic in topics
    )


class Topics:
    """End positions of the Kafka topics, without reading a message."""

    def __init__(self, conf: KafkaSettings) -> None:
        self._rejections = Rejections()
        silent: dict[str, Any] = {"log_level": 2, "error_cb": self._rejections}
        self._client = open_client(admin.AdminClient, client_config(conf, "console") | silent)
        self._topics = (*conf.order_topics, conf.detections)

    def ends(self) -> Ends:
        """The end of every partition.

        Raises:
            OSError: Kafka does not answer.
        """
        try:
            known = self._client.list_topics(timeout=KAFKA_SECONDS).topics
            parts = [
                TopicPartition(topic, partition)
                for topic in self._topics
                if topic in known
                for partition in known[topic].partitions
            ]
            latest: Any = admin.OffsetSpec.latest()  # type: ignore[attr-defined, no-untyped-call]
            newest = dict.fromkeys(parts, latest)
            asked = self._client.list_offsets(newest, request_timeout=KAFKA_SECONDS)
            return {
                (part.topic, part.partition): future.result().offset
                for part, future in asked.items()
            }
        except KafkaException as error:
            reason = self._rejections.explain(error.args[0], self._client)
            raise OSError(f"Kafka does not answer ({reason})") from error
