"""`storelake import orders`: what is sent, where it continues, and what a dry run finds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from conf.settings import Settings
from imports import orders
from imports.files import OrderImportError
from imports.orders import TOO_LARGE, send_orders, try_orders
from streaming.sinks.postgres import Database
from streaming.source import HISTORY_HEADER
from tests.support.builders import as_json, order_event

pytestmark = pytest.mark.requirement("O11")


@pytest.fixture
def deployment(services: Settings, tmp_path: Path) -> Settings:
    """With an empty topic of its own, and a folder for the progress."""
    topic = f"import-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": services.kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    kafka = services.kafka.model_copy(update={"order_created": topic})
    return services.model_copy(update={"kafka": kafka, "var_dir": tmp_path})


def write(path: Path, *events: dict[str, Any]) -> Path:
    path.write_bytes(b"\n".join(map(as_json, events)))
    return path


def messages(settings: Settings) -> Iterator[Message]:
    topic = settings.kafka.order_created
    config = {"bootstrap.servers": settings.kafka.bootstrap, "group.id": topic}
    consumer = Consumer(config | {"enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        while (message := consumer.poll(20)) is not None and not message.error():
            yield message
    finally:
        consumer.close()


def test_an_interrupted_import_continues_where_it_ended(
    deployment: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = order_event(order_id="O-2", total_price=-1)
    file = write(tmp_path / "a.ndjson", order_event(), wrong, order_event(order_id="O-3"))
    monkeypatch.setattr(orders, "CHUNK", 1)
    done: list[int] = []

    def interrupt(sent: int) -> None:
        done.append(sent)
        if sent == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send_orders(deployment, file, interrupt)
    assert send_orders(deployment, file, done.append) == {"accepted": 1}
    assert not send_orders(deployment, file, done.append)
    assert done == [1, 2, 3]
    sent = [(m.key(), m.headers()) for m in messages(deployment)]
    assert sent == [(f"O-{n}".encode(), [(HISTORY_HEADER, b"1")]) for n in (1, 2, 3)]


def test_what_kafka_does_not_take_is_counted_and_stops_no_file(
    deployment: Settings, tmp_path: Path
) -> None:
    large = order_event(order_id="O-2", extra={"note": "x" * 1_000_000})
    file = write(tmp_path / "l.ndjson", order_event(), large, order_event(order_id="O-3"))
    assert send_orders(deployment, file, lambda _: None) == {"accepted": 2, TOO_LARGE: 1}
    assert [message.key() for message in messages(deployment)] == [b"O-1", b"O-3"]
    (progress,) = (tmp_path / "imports").iterdir()
    progress.write_text("")  # a disk was full
    assert send_orders(deployment, file, lambda _: None) == {"accepted": 2, TOO_LARGE: 1}


def test_a_dry_run_names_every_rule_and_leaves_nothing(
    deployment: Settings, db: Database, tmp_path: Path
) -> None:
    number = uuid4().hex
    sale, wrong = order_event(order_id=number), order_event(order_id="O-2", total_price=-1)
    other = order_event(order_id=number, branch_id="B02")
    file = write(tmp_path / "b.ndjson", sale, wrong, other)
    for _ in range(2):
        assert try_orders(deployment, file, lambda _: None) == {
            "accepted": 1,
            "total_price_money": 1,
            "order_id_of_other_branch": 1,
        }
    assert not db.fetch("SELECT FROM order_ids WHERE order_id = %s", (number,))
    assert not list(messages(deployment))


def test_a_file_that_does_not_exist_is_named(deployment: Settings, tmp_path: Path) -> None:
    with pytest.raises(OrderImportError, match="is no file"):
        send_orders(deployment, tmp_path / "none.csv", lambda _: None)
