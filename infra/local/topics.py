"""The topics of the product."""

from __future__ import annotations

from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from conf.kafka import client_config
from conf.settings import KafkaSettings
from infra.errors import ServiceError
from infra.local.kafka import SILENT


def ensure_topics(conf: KafkaSettings) -> list[str]:
    """Create the topics that are missing, leaving the others as they are.

    Returns:
        The names that were created.

    Raises:
        ServiceError: the cluster does not answer, or refuses.
    """
    client = AdminClient(client_config(conf), logger=SILENT)
    try:
        present = client.list_topics(timeout=10).topics
        missing = [name for name in conf.all_topics if name not in present]
        if not missing:
            return []
        # -1 is the cluster's own replication factor: 1 on ours, whatever suits on another one.
        wanted = [NewTopic(name, conf.partitions, replication_factor=-1) for name in missing]
        for future in client.create_topics(wanted, operation_timeout=20).values():
            _await_created(future)
    except KafkaException as error:
        raise ServiceError(
            f"Kafka at {conf.bootstrap} did not give the topics ({error.args[0].str()}): check "
            "that it runs and that its access rules allow creating topics."
        ) from error
    return missing


def _await_created(future: Future[None]) -> None:
    try:
        future.result(timeout=30)
    except KafkaException as error:
        # Another process was quicker, which is as good.
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
