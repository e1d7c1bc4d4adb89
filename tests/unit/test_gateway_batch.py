"""The batch routes as a web shop uses them, with a broker in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from conf.settings import GatewaySettings, load_settings
from gateway.app import create_app
from gateway.producer import MemoryPublisher, Outcome, OutgoingMessage
from gateway.rejections import UnavailableError
from tests.support.builders import as_json, event_id, order_event, status_event
from tests.support.gateway_keys import MemoryKeys
from tests.support.gateway_requests import request

pytestmark = pytest.mark.requirement("O1")

BATCH = "/api/kafka/events/order-created/batch"
GENERIC = "/api/kafka/events/generic/batch"
Post = Callable[..., httpx.Response]


@pytest.fixture
def post(broker: MemoryPublisher) -> Post:
    gateway = GatewaySettings(max_body_bytes=4096, max_batch_events=20, retry_after_seconds=7)
    app = create_app(load_settings(gateway=gateway), broker, MemoryKeys())

    return lambda path, content: request(app, "POST", path, content=content)


def array(*elements: bytes) -> bytes:
    return b"[" + b",".join(elements) + b"]"


def statuses(response: httpx.Response) -> list[int]:
    return [result["status"] for result in response.json()["results"]]


def test_all_events_are_taken_in_order_and_byte_for_byte(
    post: Post, broker: MemoryPublisher
) -> None:
    events = [
        order_event(order_id=f"O-{number}", extra={"note": "größer \U0001f600", "n": number})
        for number in range(3)
    ]
    spaced = as_json(events[1]).replace(b'"n":1', b'"n" :\t1.0e0')
    response = post(BATCH, b" [ " + as_json(events[0]) + b"\n,\t" + spaced + b" ,"
                    + as_json(events[2]) + b" ]\n")  # fmt: skip

    assert response.status_code == 202
    answer = response.json()
    assert (answer["accepted"], answer["refused"]) == (3, 0)
    assert answer["results"] == [
        {
            "index": index,
            "status": 202,
            "event_id": event["event_id"],
            "topic": "order-created",
            "partition": 0,
            "offset": index,
        }
        for index, event in enumerate(events)
    ]
    kept = [message.value for message in broker.messages["order-created"]]
    assert kept == [as_json(events[0]), spaced, as_json(events[2])]


def test_each_event_has_the_status_that_it_would_have_alone(
    post: Post, broker: MemoryPublisher
) -> None:
    good, other = order_event(event_id=event_id("a")), order_event(event_id=event_id("b"))
    response = post(
        BATCH,
        array(
            as_json(good),
            as_json(order_event(event_id=event_id("bad"), total_price=-1)),
            as_json(good),
            as_json(order_event(event_id=event_id("a"), customer_id="another")),
            as_json(status_event()),
            b'{"a": NaN}',
            b'{"a": 1, "a": 2}',
            b"3",
            as_json(order_event(extra={"long": "x" * 5000})),
            as_json(other),
        ),
    )

    assert response.status_code == 207
    assert statuses(response) == [202, 422, 200, 409, 422, 422, 422, 422, 413, 202]
    results = response.json()["results"]
    assert [fault["path"] for fault in results[1]["fields"]] == ["order.total_price"]
    assert results[1]["event_id"] == event_id("bad")
    assert results[2]["offset"] == results[0]["offset"]
    assert [fault["code"] for fault in results[5]["fields"]] == ["invalid_json"]
    kept = [message.value for message in broker.messages["order-created"]]
    assert kept == [as_json(good), as_json(other)]


def test_a_repeated_batch_is_accepted_and_produces_nothing(
    post: Post, broker: MemoryPublisher
) -> None:
    body = array(*(as_json(order_event()) for _ in range(3)))
    first, second = post(BATCH, body), post(BATCH, body)

    assert (first.status_code, second.status_code) == (202, 202)
    assert statuses(second) == [200, 200, 200]
    assert len(broker.messages["order-created"]) == 3


def test_the_generic_batch_takes_every_type(post: Post, broker: MemoryPublisher) -> None:
    types = ("order.created", "order.updated", "order.cancelled")
    events = [*(order_event(event_type=name) for name in types), status_event()]

    assert post(GENERIC, array(*map(as_json, events))).status_code == 202
    assert [message.value for message in broker.messages["order-events"]] == [*map(as_json, events)]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "invalid_json"),
        (b"[", 400, "invalid_json"),
        (b"[{}", 400, "invalid_json"),
        (b"[{},]", 400, "invalid_json"),
        (b"[{} {}]", 400, "invalid_json"),
        (b"[{}]]", 400, "invalid_json"),
        (b"[" * 3000, 400, "invalid_json"),
        (b"\xff", 400, "invalid_json"),
        (b"{}", 422, "invalid_batch"),
        (b" [ ] ", 422, "invalid_batch"),
        (b"[" + b"{}," * 20 + b"{}]", 422, "invalid_batch"),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(
    post: Post, broker: MemoryPublisher, body: bytes, status: int, error: str
) -> None:
    response = post(BATCH, body)

    assert (response.status_code, response.json()["error"]) == (status, error)
    assert not broker.messages


def test_without_a_broker_every_event_is_to_be_retried(post: Post, broker: MemoryPublisher) -> None:
    body = array(as_json(order_event(order_id="O-1")), as_json(order_event(order_id="O-2")))
    broker.stalled = True
    response = post(BATCH, body)

    assert (response.status_code, response.headers["retry-after"]) == (207, "7")
    assert statuses(response) == [503, 503]
    broker.stalled = False
    assert statuses(post(BATCH, body)) == [202, 202]


def test_later_events_of_an_order_wait_for_the_earlier_one(
    post: Post, broker: MemoryPublisher
) -> None:
    take, full = broker.send, True

    def send(message: OutgoingMessage) -> asyncio.Future[Outcome]:
        nonlocal full
        if not full:
            return take(message)
        full = False
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        outcome.set_result(UnavailableError("too many messages wait for the broker"))
        return outcome

    broker.send = send  # type: ignore[method-assign]
    events: list[Any] = [order_event(order_id=name) for name in ("O-1", "O-2", "O-1")]
    response = post(BATCH, array(*map(as_json, events)))

    assert statuses(response) == [503, 202, 503]
    assert [message.key for message in broker.messages["order-created"]] == [b"O-2"]
