"""What the planner requests from Kafka beside messages: topics, their ids, ends of partitions.

The administration client has connections of its own. On a consumer's connection each answer waits
behind a fetch that waits for messages: half a second a partition at the end of a log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, admin
from confluent_kafka import TopicPartition as KafkaPartition
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from conf.kafka import CALL_SECONDS, CONNECTION, Rejections, open_client
from streaming.sources.log import Partition, TopicRemadeError

_administrations: dict[tuple[tuple[str, str], ...], tuple[admin.AdminClient, Rejections]] = {}
"""Clients of this process, by their configuration: workers are used for many batches."""


_ELECTING = {KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION}
"""Errors of a partition that is about to have a leader, as right after its topic was created."""


def _has_no_leader(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in _ELECTING


def _id(answer: Future[Any]) -> str | None:
    try:
        return str(answer.result().topic_id)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise


class TopicQueries:
    """Queries one cluster. The client is made at first use and kept for the process.

    Every method raises `KafkaException` where Kafka does not answer within 10 s, or denies access.

    Args:
        client: options of librdkafka; at least `bootstrap.servers`.
    """

    def __init__(self, client: Mapping[str, str]) -> None:
        self._client = {**CONNECTION, **client}

    def _known(self) -> tuple[admin.AdminClient, Rejections]:
        key = tuple(sorted(self._client.items()))
        if key not in _administrations:
            rejections = Rejections()
            config: dict[str, Any] = {**self._client, "error_cb": rejections}
            made = open_client(admin.AdminClient, config)
            _administrations[key] = made, rejections
        return _administrations[key]

    def _admin(self) -> admin.AdminClient:
        return self._known()[0]

    def explain(self, error: KafkaException) -> str:
        """Why a query failed."""
        client, rejections = self._known()
        return rejections.explain(error.args[0], client)

    def all(self) -> dict[str, Any]:
        """Every topic of the cluster, with its partitions."""
        found: dict[str, Any] = self._admin().list_topics(timeout=CALL_SECONDS).topics
        return found

    @retry(
        retry=retry_if_exception(_has_no_leader),
        stop=stop_after_delay(CALL_SECONDS),
        wait=wait_fixed(0.1),
        reraise=True,
    )
    def bounds(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """First and next offset of each partition that a reader of committed records can read."""
        spec: Any = admin.OffsetSpec  # type: ignore[attr-defined]
        low = self._offsets(partitions, spec.earliest())
        high = self._offsets(partitions, spec.latest())
        return {p: (low[p].result().offset, high[p].result().offset) for p in partitions}

    def _offsets(self, partitions: Sequence[Partition], spec: Any) -> dict[Partition, Future[Any]]:
        if not partitions:
            return {}
        answers = self._admin().list_offsets(
            {KafkaPartition(topic, number): spec for topic, number in partitions},
            isolation_level=IsolationLevel.READ_COMMITTED,
            request_timeout=CALL_SECONDS,
        )
        return {(p.topic, p.partition): answer for p, answer in answers.items()}

    def ids(self, topics: Sequence[str]) -> dict[str, str]:
        """Topic -> its id; without topics that do not exist."""
        asked: dict[str, Future[Any]] = self._admin().describe_topics(
            TopicCollection([*topics]), request_timeout=CALL_SECONDS
        )
        found = {topic: _id(answer) for topic, answer in asked.items()}
        return {topic: known for topic, known in found.items() if known is not None}

    def compare_ids(self, known: Mapping[str, str]) -> None:
        """Check that topics still have their ids.

        Raises:
            TopicRemadeError: one has another id now.
        """
        for topic, now in self.ids([*known]).items():
            if now != known[topic]:
                raise TopicRemadeError(
                    f"topic {topic} was deleted and made again while it was read: its id was "
                    f"{known[topic]} and is {now} now"
                )
