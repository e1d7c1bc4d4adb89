"""The gateway as operators use it: the test of the connection, and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conf.settings import load_settings
from gateway.app import create_app
from gateway.producer import MemoryPublisher
from tests.support.builders import as_json, order_event, status_event
from tests.support.gateway_keys import MemoryKeys
from tests.support.gateway_requests import request

CREATED = "/api/kafka/events/order-created"
TEST = "/api/kafka/test-connection"
Call = Callable[..., httpx.Response]


@pytest.fixture
def call(broker: MemoryPublisher) -> Call:
    return partial(request, create_app(load_settings(), broker, MemoryKeys()))


def meters(call: Call) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels, these in the order of their names."""
    text = call("GET", "/metrics").text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_connection_test_shows_brokers_topics_and_time(
    call: Call, broker: MemoryPublisher, method: str
) -> None:
    broker.topics = ("order-created", "foreign")
    response = call(method, TEST)

    assert response.status_code == 200
    answer = response.json()
    assert answer["status"] == "connected"
    assert answer["brokers"] == [{"id": 1, "host": "memory", "port": 0}]
    assert {
        topic["name"]: (topic["exists"], topic["partitions"]) for topic in answer["topics"]
    } == {
        "order-created": (True, 1),
        "order-updated": (False, 0),
        "order-cancelled": (False, 0),
        "order-events": (False, 0),
    }
    assert answer["round_trip_ms"] >= 0
    assert not broker.messages


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_connection_test_reports_when_the_broker_is_away(
    call: Call, broker: MemoryPublisher, method: str
) -> None:
    broker.down = True
    response = call(method, TEST)

    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert response.json()["error"] == "broker_unavailable"


def test_a_missing_topic_means_not_ready(call: Call, broker: MemoryPublisher) -> None:
    broker.topics = ("order-created", "order-updated", "order-events")
    response = call("GET", "/ready")

    assert response.status_code == 503
    assert response.json()["message"] == "missing topics: order-cancelled"


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", TEST, "/openapi.json"])
def test_head_answers_as_get_without_a_body(call: Call, path: str) -> None:
    got, head = call("GET", path), call("HEAD", path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


def test_head_of_an_event_route_names_the_method_that_it_takes(call: Call) -> None:
    response = call("HEAD", CREATED)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_a_trailing_slash_changes_no_answer(call: Call, broker: MemoryPublisher) -> None:
    batch = b"[" + as_json(order_event()) + b"]"
    assert call("POST", f"{CREATED}/", content=as_json(order_event())).status_code == 202
    assert call("POST", f"{CREATED}/batch/", content=batch).status_code == 202
    assert call("GET", "/ready/").status_code == 200
    assert len(broker.messages["order-created"]) == 2
    assert meters(call)["storelake_gateway_requests_total", CREATED, "202"] == 1


def test_events_are_counted_by_topic_and_outcome(call: Call, broker: MemoryPublisher) -> None:
    event = order_event()
    for body in (as_json(event), as_json(event), as_json(event | {"source": "x"}), b"{}", b"{"):
        call("POST", CREATED, content=body)
    batch = b"[" + as_json(order_event()) + b"," + as_json(status_event()) + b"]"
    call("POST", f"{CREATED}/batch", content=batch)
    broker.down = True
    call("POST", CREATED, content=as_json(order_event()))

    found = meters(call)
    events = {
        labels[0]: value
        for (name, *labels), value in found.items()
        if name == "storelake_gateway_events_total" and labels[1] == "order-created"
    }
    assert events == {
        "accepted": 2,
        "repeated": 1,
        "event_id_conflict": 1,
        "invalid_event": 2,
        "invalid_json": 1,
        "broker_unavailable": 1,
    }
    size = sum(len(message.value) for message in broker.messages["order-created"])
    assert found["storelake_gateway_event_bytes_total", "order-created"] == size
    assert found["storelake_gateway_ack_seconds_count",] == 2


def test_requests_are_counted_by_known_routes_and_status(call: Call) -> None:
    call("POST", CREATED, content=as_json(order_event()))
    for path in ("/secret-1", "/secret-2"):
        call("GET", path)
    call("GET", CREATED)

    found = meters(call)
    assert found["storelake_gateway_requests_total", CREATED, "202"] == 1
    assert found["storelake_gateway_requests_total", CREATED, "405"] == 1
    assert found["storelake_gateway_requests_total", "none", "404"] == 2
    assert found["storelake_gateway_request_seconds_count", CREATED] == 2
    assert found["storelake_gateway_requests_in_flight",] == 1  # the request for the metrics
    assert "secret" not in call("GET", "/metrics").text
