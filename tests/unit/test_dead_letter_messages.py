"""Rejected messages as they are sent to the topic of dead letters."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import KafkaError

from conf.settings import Settings
from streaming.sinks.dlq_topic import send_dead_letters, to_messages
from streaming.sinks.kafka_producer import DlqMessage
from streaming.source import SOURCE_SCHEMA
from streaming.transforms.quarantine import split_validated

STREAM = "order_event_processor"
NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
VALIDATED = SOURCE_SCHEMA.append(pa.field("rules", pa.list_(pa.string())))


def validated(*rows: dict[str, Any]) -> pa.Table:
    """Validated messages with full defaults: rejected for its branch."""
    defaults = {
        "key": b"O-1",
        "value": b"{}",
        "topic": "order-created",
        "partition": 3,
        "position": "00000000000000000042",
        "timestamp": datetime(2024, 5, 1, tzinfo=timezone.utc),
        "headers": None,
        "rules": ["branch_known"],
    }
    return pa.Table.from_pylist([{**defaults, **row} for row in rows], schema=VALIDATED)


def message(**row: Any) -> DlqMessage:
    (found,) = to_messages(validated(row), STREAM, NOON)
    return found


def test_key_and_value_are_kept_byte_for_byte() -> None:
    key, value, _ = message(key=b"\x00\xff", value=b'{ "a":\t\xed\xa0\x80')
    assert (key, value) == (b"\x00\xff", b'{ "a":\t\xed\xa0\x80')


def test_a_tombstone_is_still_one() -> None:
    key, value, _ = message(key=None, value=None)
    assert (key, value) == (None, None)


def test_headers_have_the_position_the_failed_rules_the_reporter_and_the_time() -> None:
    _, _, headers = message(rules=["branch_known", "items_present"])
    assert dict(headers) == {
        "storelake-origin": b"order-created/3/00000000000000000042",
        "storelake-rules": b'["branch_known", "items_present"]',
        "storelake-stream": b"order_event_processor",
        "storelake-rejected-at": b"2024-05-01T12:00:00.000Z",
    }


def test_headers_of_the_sender_come_first_in_their_order_even_twice() -> None:
    sent = [{"key": "trace", "value": b"1"}, {"key": "trace", "value": b"2"}]
    _, _, headers = message(headers=sent)
    assert headers[:2] == [("trace", b"1"), ("trace", b"2")]


def test_a_header_without_a_value_is_sent_without_one() -> None:
    _, _, headers = message(headers=[{"key": "flag", "value": None}])
    assert headers[0] == ("flag", None)


def test_every_rejected_message_is_sent_once_in_its_order() -> None:
    rows = validated(*({"position": f"{n:020d}", "value": str(n).encode()} for n in range(50)))
    assert [int(value or b"") for _, value, _ in to_messages(rows, STREAM, NOON)] == list(range(50))


def test_only_rejected_messages_are_split_off_and_none_is_lost() -> None:
    rows = validated({"rules": []}, {"rules": ["a"]}, {"rules": []}, {"rules": ["b", "c"]})
    good, rejected = split_validated(rows)
    assert good["rules"].to_pylist() == [[], []]
    assert rejected["rules"].to_pylist() == [["a"], ["b", "c"]]


def test_a_rejected_message_has_the_columns_of_quarantine() -> None:
    _, rejected = split_validated(validated({}).append_column("event_id", pa.array(["E-1"])))
    assert rejected.schema.names == VALIDATED.names


def test_rules_in_the_header_are_json() -> None:
    _, _, headers = message(rules=['with "quotes"'])
    assert json.loads(dict(headers)["storelake-rules"]) == ['with "quotes"']


class SmallTopic:
    """A Kafka producer, and a topic that takes messages of up to 1,000 bytes."""

    def __init__(self, *_: Any) -> None:
        self.stored: list[DlqMessage] = []
        self._reports: list[Any] = []

    def produce(self, _: str, value: bytes | None, key: bytes | None, **rest: Any) -> None:
        headers = rest["headers"]
        size = len(value or b"") + len(key or b"") + sum(len(n) + len(v or b"") for n, v in headers)
        error = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE) if size > 1_000 else None
        if error is None:
            self.stored.append((key, value, headers))
        self._reports.append(lambda: rest["on_delivery"](error, None))

    def poll(self, _: float) -> None:
        """Reports come with `flush`."""

    def flush(self, _: float) -> int:
        reports, self._reports = self._reports, []
        for report in reports:
            report()
        return 0


LONG = b"x" * 2_000


@pytest.mark.parametrize(
    "row",
    [{"headers": [{"key": "trace", "value": LONG}]}, {"key": LONG, "value": None}],
    ids=["headers", "key"],
)
def test_a_message_of_which_only_the_origin_fits_does_not_stop_the_stream(
    row: dict[str, Any], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = SmallTopic()
    monkeypatch.setattr("streaming.sinks.kafka_producer.Producer", lambda _: topic)
    monkeypatch.setattr("streaming.sinks.kafka_producer._shared", {})

    assert send_dead_letters(settings.kafka, STREAM, validated(row, {"position": "43"})) == 2

    (small, origin_only) = topic.stored
    assert small[:2] == (b"O-1", b"{}")
    assert origin_only[:2] == (None, None)
    assert dict(origin_only[2]) == {
        "storelake-origin": b"order-created/3/00000000000000000042",
        "storelake-value-bytes": str(len(row.get("value", b"{}") or b"")).encode(),
    }
