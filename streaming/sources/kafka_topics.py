"""Ids of Kafka's topics, which differ for a topic that was created again under its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from conf.kafka import CALL_SECONDS, CONNECTION
from streaming.sources.log import TopicRemadeError

_administrations: dict[tuple[tuple[str, str], ...], AdminClient] = {}
"""Clients of this process, by their configuration: workers are used for many batches."""


def _id(answer: Future[Any]) -> str | None:
    try:
        return str(answer.result().topic_id)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise


class TopicIds:
    """Queries one cluster. The client is made at first use and kept for the process.

    Args:
        client: options of librdkafka; at least `bootstrap.servers`.
    """

    def __init__(self, client: Mapping[str, str]) -> None:
        self._client = {**CONNECTION, **client}

    def of(self, topics: Sequence[str]) -> dict[str, str]:
        """Topic -> its id; without topics that do not exist.

        Raises:
            KafkaException: Kafka does not answer within 10 s, or denies access.
        """
        key = tuple(sorted(self._client.items()))
        if key not in _administrations:
            _administrations[key] = AdminClient(self._client)
        asked: dict[str, Future[Any]] = _administrations[key].describe_topics(
            TopicCollection([*topics]), request_timeout=CALL_SECONDS
        )
        found = {topic: _id(answer) for topic, answer in asked.items()}
        return {topic: known for topic, known in found.items() if known is not None}

    def compare(self, known: Mapping[str, str]) -> None:
        """Check that topics still have their ids.

        Raises:
            TopicRemadeError: one has another id now.
            KafkaException: Kafka does not answer within 10 s, or denies access.
        """
        for topic, now in self.of([*known]).items():
            if now != known[topic]:
                raise TopicRemadeError(
                    f"topic {topic} was deleted and made again while it was read: its id was "
                    f"{known[topic]} and is {now} now"
                )
