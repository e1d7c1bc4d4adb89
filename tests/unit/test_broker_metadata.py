"""Whatever a broker stores beside a message becomes a row; what is unreadable is rejected."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pulsar
import pyarrow as pa
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE
from confluent_kafka import Message as KafkaMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.stores import Stores
from streaming.source import GENERATION, UNREADABLE_HEADER, broker_time
from streaming.sources import kafka
from streaming.sources import pulsar as pulsar_source
from streaming.sources.rows import (
    BYTES_PER_ARROW_BATCH,
    headers_of,
    message_bytes,
    to_arrow,
    to_batches,
)
from streaming.transforms.order_event_processor import silver_orders
from streaming.transforms.quarantine import split_validated
from streaming.transforms.silver_detections import (
    frames,
    to_silver_detections,
    validated_detections,
)
from tests.support.builders import as_json, detection_event, order_event
from tests.support.messages import RECEIVED

SKEW = timedelta(minutes=10)
BAD = ["broker_metadata_readable"]

Pairs = list[tuple[bytes, bytes | None]]


@dataclass
class Sent:
    """A message as the clients of both brokers have it: they decode header names when read."""

    value_: bytes | None = b"{}"
    key_: bytes | None = None
    millis: int = int(RECEIVED.timestamp() * 1000)
    pairs: Pairs = field(default_factory=list)
    kind: int = TIMESTAMP_CREATE_TIME

    def key(self) -> bytes | None:
        return self.key_

    def value(self) -> bytes | None:
        return self.value_

    def topic(self) -> str:
        return "order-created"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return self.kind, self.millis

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        try:
            return [(name.decode(), value) for name, value in self.pairs] or None
        except UnicodeDecodeError as error:  # as confluent-kafka does
            raise SystemError("returned a result with an exception set") from error

    def event_timestamp(self) -> int:
        return self.millis

    def publish_timestamp(self) -> int:
        return self.millis

    def properties(self) -> dict[str, str]:
        return {name.decode(): (value or b"").decode() for name, value in self.pairs}

    @property
    def partition_key(self) -> Any:
        return (self.key_ or b"").decode

    def has_null_value(self) -> bool:
        return self.value_ is None

    def data(self) -> bytes:
        return self.value_ or b""


def from_kafka(message: Sent) -> tuple[Any, ...]:
    return kafka._row(cast(KafkaMessage, message), 0)


def from_pulsar(message: Sent) -> tuple[Any, ...]:
    return pulsar_source._row("order-created", 0, 7, cast(pulsar.Message, message))


BROKERS = pytest.mark.parametrize("row_of", [from_kafka, from_pulsar])

anything = st.binary(max_size=60)
messages = st.builds(
    Sent,
    value_=st.none() | anything,
    key_=st.none() | anything,
    millis=st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([0, -1, 10**9, 1_714_557_601_000_000, 253_402_300_800_000]),
    pairs=st.lists(st.tuples(anything, st.none() | anything), max_size=4),
    kind=st.sampled_from([TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE]),
)


def rows(found: list[tuple[Any, ...]]) -> pa.Table:
    return pa.Table.from_batches([to_arrow(found)])


@pytest.mark.parametrize("validate", [silver_orders, validated_detections])
@BROKERS
@settings(max_examples=60, deadline=None)
@given(sent=st.lists(messages, min_size=1, max_size=5))
def test_no_message_of_any_bytes_stops_a_stream(
    stores: Stores, row_of: Any, validate: Any, sent: list[Sent]
) -> None:
    validated = validate(stores, SKEW)(rows([row_of(one) for one in sent]))
    good, rejected = split_validated(validated)
    assert good.num_rows + rejected.num_rows == len(sent)
    if validate is validated_detections:
        frames(validated)
        to_silver_detections(good)


@pytest.mark.parametrize(
    "millis",
    [
        1_714_557_601,
        1_714_557_601_000_000,
        1_714_557_601_000_000_000,
        -1,
        0,
        253_402_300_800_000,
        2**63 - 1,
        -(2**63),
        None,
    ],
    ids=["seconds", "micros", "nanos", "-1", "0", "year 10000", "most", "least", "none"],
)
def test_a_timestamp_that_is_no_time_of_the_present_is_null(millis: int | None) -> None:
    assert broker_time(millis) is None


def test_a_timestamp_may_lie_a_day_ahead_and_no_more() -> None:
    now = datetime.now(timezone.utc)
    ahead = [now + timedelta(hours=hours) for hours in (23, 25)]
    times = [broker_time(int(one.timestamp() * 1000)) for one in ahead]
    assert [time is None for time in times] == [False, True]
    assert broker_time(int(RECEIVED.timestamp() * 1000)) == RECEIVED


@BROKERS
def test_an_order_whose_broker_time_is_in_microseconds_is_rejected_whole(
    stores: Stores, row_of: Any
) -> None:
    value = as_json(order_event())
    micros = Sent(value, b"O-1", millis=int(RECEIVED.timestamp() * 1_000_000))
    validated = silver_orders(stores, SKEW)(rows([row_of(Sent(value, b"O-1")), row_of(micros)]))
    assert validated["rules"].to_pylist() == [[], BAD]
    assert validated["value"].to_pylist() == [value, value]


@BROKERS
def test_a_frame_with_a_header_that_is_no_text_is_rejected_with_the_bytes_of_its_name(
    stores: Stores, row_of: Any
) -> None:
    value = as_json(detection_event())
    sent = Sent(value, b"B01-entrance", pairs=[(b"good", b"1"), (b"\xff\xfe", b"2")])
    validated = validated_detections(stores, SKEW)(rows([row_of(sent)]))
    assert validated["rules"].to_pylist() == [BAD]
    assert validated["headers"].to_pylist() == [[{"key": UNREADABLE_HEADER, "value": b"\xff\xfe"}]]


@BROKERS
def test_ten_thousand_headers_are_headers(stores: Stores, row_of: Any) -> None:
    pairs: Pairs = [(b"h%d" % n, b"v") for n in range(10_000)]
    sent = Sent(as_json(order_event()), b"O-1", pairs=pairs)
    validated = silver_orders(stores, SKEW)(rows([row_of(sent)]))
    assert validated["rules"].to_pylist() == [[]]
    assert len(validated["headers"][0]) == 10_000


def test_a_header_without_a_value_has_none() -> None:
    assert headers_of(lambda: [("trace", None)]) == [{"key": "trace", "value": None}]


def test_a_position_of_kafka_has_the_generation_of_its_topic_before_the_offset() -> None:
    row = kafka._row(cast(KafkaMessage, Sent()), 3 * GENERATION)
    assert row[4] == "00003000000000000007"


# Arrow batches


def test_arrow_batches_are_bounded_by_bytes_and_a_larger_row_is_one_of_its_own() -> None:
    third = BYTES_PER_ARROW_BATCH // 3
    sizes = [third, third, third, third, BYTES_PER_ARROW_BATCH * 2, 1, 1]
    sent = [from_kafka(Sent(b"x" * size)) for size in sizes]
    batches = list(to_batches(sent))
    assert [batch.num_rows for batch in batches] == [3, 1, 1, 2]


def test_keys_and_headers_count_as_bytes_of_a_message() -> None:
    assert (
        message_bytes(b"key", None, [{"key": "name", "value": b"12"}, {"key": "n", "value": None}])
        == 10
    )
