"""The contract of all publishers, on those that need no broker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from conf.settings import KafkaSettings, Settings, SettingsError
from inference_service.publishers import Publisher, PublishError, open_publisher
from inference_service.publishers.kafka import KafkaPublisher
from inference_service.publishers.memory import MemoryPublisher
from inference_service.publishers.ndjson import NdjsonPublisher


@dataclass
class Case:
    """A publisher and a way to see what arrived."""

    publisher: Publisher
    values: Callable[[], list[bytes]]


@pytest.fixture(params=["memory", "ndjson"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    if request.param == "memory":
        memory = MemoryPublisher()
        return Case(memory, lambda: [value for _, value in memory.messages])
    path = tmp_path / "deep" / "events.ndjson"
    return Case(NdjsonPublisher(path), lambda: path.read_bytes().splitlines())


def test_events_arrive_unchanged_and_in_order(case: Case) -> None:
    values = [f'{{"n":{n},"text":"Straße"}}'.encode() for n in range(100)]
    for value in values:
        case.publisher.publish(b"B01/c", value)
    case.publisher.flush()
    assert case.values() == values
    assert case.publisher.delivered == 100


def test_closing_flushes_and_may_be_repeated(case: Case) -> None:
    case.publisher.publish(b"k", b"{}")
    case.publisher.close()
    case.publisher.close()
    assert case.values() == [b"{}"]
    assert case.publisher.delivered == 1


def test_a_closed_publisher_takes_no_event(case: Case) -> None:
    case.publisher.close()
    with pytest.raises(PublishError, match="closed"):
        case.publisher.publish(b"k", b"{}")


def test_flushing_nothing_is_fine(case: Case) -> None:
    case.publisher.flush()
    assert case.publisher.delivered == 0


def test_a_line_cut_by_a_crash_is_not_glued_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'{"n":1}\n{"n":')
    publisher = NdjsonPublisher(path)
    publisher.publish(b"k", b'{"n":3}')
    publisher.close()
    assert path.read_bytes().splitlines() == [b'{"n":1}', b'{"n":', b'{"n":3}']


def test_a_file_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="cannot be written"):
        NdjsonPublisher(tmp_path)


def test_ndjson_without_a_file_is_refused() -> None:
    with pytest.raises(SettingsError, match="--out"):
        open_publisher(Settings(), "ndjson")


NOBODY = KafkaSettings(bootstrap_servers="127.0.0.1:1")


def test_kafka_says_how_many_events_were_not_acknowledged() -> None:
    publisher = KafkaPublisher(NOBODY, close_seconds=0.2)
    for _ in range(3):
        publisher.publish(b"k", b"{}")
    with pytest.raises(PublishError, match=r"^3 of 3 events were not acknowledged by Kafka at "):
        publisher.close()
    publisher.close()
    assert publisher.delivered == 0


def test_kafka_waits_while_its_bounded_queue_is_full_until_it_has_to_stop() -> None:
    stopping = threading.Event()
    publisher = KafkaPublisher(NOBODY, stopping=stopping, close_seconds=0.2, queue_messages=2)
    publisher.publish(b"k", b"{}")
    publisher.publish(b"k", b"{}")
    stopping.set()
    with pytest.raises(PublishError, match=r"queue to .* was full"):
        publisher.publish(b"k", b"{}")
    with pytest.raises(PublishError, match="2 of 2"):
        publisher.close()
