"""Sends the orders of a file to Kafka, or shows what would become of them.

Every message is sent, also one that breaks a rule: the streams reject it and store it whole.
Delivery guarantee: at least once, acknowledged by all replicas; a repeated message has the same
event_id. How far a file was sent is kept in `<var>/imports`, by its path, size and time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
from confluent_kafka import KafkaException, Producer

from conf.contracts.topics import event_topics
from conf.errors import database_down
from conf.kafka import KEY_PARTITIONER, Rejections, open_client, producer_config
from conf.settings import KafkaSettings, Settings
from conf.stores import load_stores
from imports.files import OrderImportError, OrderMessage, read_orders
from infra.local.state_files import UnreadableStateError, read_state, write_text
from streaming.sinks.kafka_producer import produce
from streaming.sinks.order_ids import identify
from streaming.source import HISTORY_HEADER, SOURCE_SCHEMA
from streaming.steps import VALIDATE_ORDERS
from streaming.stream import Rows

CHUNK = 5_000
"""Messages that are sent, or validated, at once."""
ACCEPTED = "accepted"
TOO_LARGE = "Kafka, which takes no message of a megabyte"
LARGEST_BYTES = 990_000
"""Of a value, so that it is below `message.max.bytes` of librdkafka with key and headers."""

# Silences librdkafka's own lines about an unreachable broker: the error states it.
_SILENT = logging.getLogger("storelake.import.librdkafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

Outcomes = Counter[str]
"""`ACCEPTED`, or the id of the first rule that a message breaks -> number of messages."""


def send_orders(
    settings: Settings, path: Path, notify: Callable[[int], None], *, again: bool = False
) -> Outcomes:
    """Send a file, from where an earlier call ended.

    Args:
        settings: of the deployment.
        path: CSV, NDJSON or Parquet.
        notify: called with the number of messages that Kafka has acknowledged.
        again: from the beginning.

    Returns:
        Outcomes of the messages that this call sent, by the row rules. The streams find order ids
        that belong to another order.

    Raises:
        OrderImportError: the file cannot be read, or Kafka did not acknowledge; the next call
            continues from there.
    """
    place = _progress_file(settings, path)
    known = {} if again else _known(place)
    sent = int(known.get("messages", 0))
    outcomes: Outcomes = Counter()
    sender, validate = _Sender(settings.kafka), _validation(settings)
    for messages in _chunks(islice(read_orders(path), sent, None)):
        fitting = _fitting(messages, outcomes)
        outcomes += _outcomes(validate(_source_rows(fitting)))
        sender.send(fitting)
        sent += len(messages)
        write_text(place, json.dumps({"file": str(path.resolve()), "messages": sent}))
        notify(sent)
    return outcomes


def try_orders(settings: Settings, path: Path, notify: Callable[[int], None]) -> Outcomes:
    """What would become of the messages of a file, by all rules; nothing is sent or stored.

    Raises:
        OrderImportError: the file, or the database with the ids of orders, cannot be read.
    """
    outcomes: Outcomes = Counter()
    validate = _validation(settings)
    done = 0
    with _rolled_back(settings) as connection:
        for messages in _chunks(read_orders(path)):
            fitting = _fitting(messages, outcomes)
            outcomes += _outcomes(identify(connection, validate(_source_rows(fitting))))
            done += len(messages)
            notify(done)
    return outcomes


def _fitting(messages: Sequence[OrderMessage], outcomes: Outcomes) -> list[OrderMessage]:
    """The messages that Kafka takes; the others are counted as `TOO_LARGE`."""
    fitting = [one for one in messages if len(one.value) <= LARGEST_BYTES]
    if len(fitting) < len(messages):
        outcomes[TOO_LARGE] += len(messages) - len(fitting)
    return fitting


def _known(place: Path) -> Mapping[str, Any]:
    """How far the file was sent; from its start where that cannot be read: ids repeat."""
    try:
        return read_state(place) or {}
    except UnreadableStateError:
        return {}


def _validation(settings: Settings) -> Rows:
    return VALIDATE_ORDERS.make(settings, load_stores(settings.stores_file))


@contextmanager
def _rolled_back(settings: Settings) -> Iterator[psycopg.Connection]:
    """A transaction that sees the ids that its own orders claim, and leaves none of them."""
    conf = settings.postgres
    try:
        with psycopg.connect(conf.dsn, options="-c timezone=UTC") as connection:
            yield connection
            connection.rollback()
    except psycopg.Error as error:
        place = f"Postgres at {conf.host}:{conf.port}"
        raise OrderImportError(database_down(place, error)) from error


def _source_rows(messages: Sequence[OrderMessage]) -> pa.Table:
    """The messages as a source would read them now."""
    now = datetime.now(timezone.utc)
    return pa.Table.from_pylist(
        [
            {
                "key": message.key and message.key.encode(),
                "value": message.value,
                "topic": "import",
                "partition": 0,
                "position": f"{number:020d}",
                "timestamp": now,
                "headers": [],
            }
            for number, message in enumerate(messages)
        ],
        SOURCE_SCHEMA,
    )


def _outcomes(validated: pa.Table) -> Outcomes:
    rules = validated["rules"].to_pylist()
    return Counter(broken[0] if broken else ACCEPTED for broken in rules)


def _chunks(messages: Iterator[OrderMessage]) -> Iterator[list[OrderMessage]]:
    while chunk := list(islice(messages, CHUNK)):
        yield chunk


def _progress_file(settings: Settings, path: Path) -> Path:
    if not path.is_file():
        raise OrderImportError(f"{path} is no file.")
    state = path.stat()
    name = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}"
    return settings.var_dir / "imports" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


class _Sender:
    """An idempotent producer that waits for a chunk as a whole."""

    def __init__(self, kafka: KafkaSettings) -> None:
        own: dict[str, Any] = {**KEY_PARTITIONER, "client.id": "storelake-import"}
        rejections = own["error_cb"] = Rejections()
        config = producer_config(kafka, "operator", own, message_timeout_ms=30_000)
        self._producer = open_client(Producer, config, logger=_SILENT)
        self._topics = event_topics(kafka)
        self._other, self._bootstrap = kafka.order_events, kafka.bootstrap
        try:
            self._producer.list_topics(timeout=5)
        except KafkaException as error:
            raise self._away(rejections.explain(error.args[0], self._producer)) from error

    def send(self, messages: Sequence[OrderMessage]) -> None:
        """Send and wait for every acknowledgement."""
        failed: list[str] = []
        try:
            for one in messages:
                produce(
                    self._producer,
                    self._topics.get(one.event_type or "", self._other),
                    one.value,
                    one.key,
                    headers=[(HISTORY_HEADER, b"1")],
                    on_delivery=lambda error, _: failed.append(error.str()) if error else None,
                )
        except (BufferError, KafkaException) as error:
            failed.append(str(error))
        if self._producer.flush(35) or failed:
            raise self._away(failed[0] if failed else "no answer in time")

    def _away(self, reason: str) -> OrderImportError:
        return OrderImportError(
            f"Kafka at {self._bootstrap} does not answer ({reason}): run `storelake up`, then "
            "repeat the command, which continues where it ended."
        )
