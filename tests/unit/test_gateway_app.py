"""The gateway as a till uses it, with a broker in memory."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI

from conf.contracts.storable import is_storable
from conf.logs import configure_logging
from conf.settings import CONF_DIR, GatewaySettings, Settings, load_settings
from conf.traces import Trace
from gateway.app import create_app
from gateway.producer import MemoryPublisher, Outcome, OutgoingMessage
from tests.support.builders import MISSING, as_json, event_id, order_event, order_item, status_event
from tests.support.gateway_keys import TILL, MemoryKeys, bearer
from tests.support.gateway_requests import request

pytestmark = pytest.mark.requirement("O1")

EVENTS = "/api/kafka/events"
CREATED = f"{EVENTS}/order-created"


@pytest.fixture
def limits() -> Settings:
    return load_settings(
        gateway=GatewaySettings(operations_port=0, max_body_bytes=4096, retry_after_seconds=7)
    )


@pytest.fixture
def app(limits: Settings, broker: MemoryPublisher) -> FastAPI:
    return create_app(limits, broker, MemoryKeys())


Call = Callable[..., httpx.Response]


@pytest.fixture
def call(app: FastAPI) -> Call:
    return partial(request, app)


@pytest.mark.parametrize(
    ("route", "event", "topic"),
    [
        ("order-created", order_event(), "order-created"),
        ("order-updated", order_event(event_type="order.updated"), "order-updated"),
        ("order-cancelled", order_event(event_type="order.cancelled"), "order-cancelled"),
        ("order-status-changed", status_event(), "order-events"),
        ("generic", order_event(event_type="order.updated"), "order-events"),
        ("generic", status_event(), "order-events"),
    ],
)
def test_an_event_is_accepted_on_its_topic(
    call: Call, broker: MemoryPublisher, route: str, event: dict[str, Any], topic: str
) -> None:
    response = call("POST", f"{EVENTS}/{route}", content=as_json(event))

    assert response.status_code == 202
    assert response.json() == {
        "event_id": event["event_id"],
        "topic": topic,
        "partition": 0,
        "offset": 0,
    }
    (message,) = broker.messages[topic]
    assert (message.key, message.value) == (b"O-1", as_json(event))


def test_the_bytes_are_forwarded_untouched_with_unknown_fields(
    call: Call, broker: MemoryPublisher
) -> None:
    event = order_event(extra={"till": {"no": 7, "tip": 0.10}})
    body = json.dumps(event, indent=3, ensure_ascii=True).replace("0.1\n", "0.100\n").encode()

    assert call("POST", CREATED, content=body).status_code == 202

    assert broker.messages["order-created"][0].value == body


@pytest.mark.requirement("M1")
def test_a_trace_is_sent_with_the_event_and_returned_to_the_till(
    call: Call, broker: MemoryPublisher
) -> None:
    sent = Trace.begin()
    answer = call(
        "POST", CREATED, content=as_json(order_event()), headers={"traceparent": sent.header}
    )

    (message,) = broker.messages["order-created"]
    headers = dict(message.headers)
    assert headers["content-type"] == b"application/json"
    assert headers["traceparent"].decode() == answer.headers["traceparent"]
    came = Trace.read(answer.headers["traceparent"])
    assert came is not None
    assert came.trace_id == sent.trace_id
    assert came.span_id != sent.span_id


@pytest.mark.requirement("M1")
@pytest.mark.parametrize("header", [None, "nonsense", f"00-{'0' * 32}-00f067aa0ba902b7-01"])
def test_a_request_without_a_valid_trace_begins_one(
    call: Call, broker: MemoryPublisher, header: str | None
) -> None:
    given = {"traceparent": header} if header else {}
    first, second = (
        call("POST", CREATED, content=as_json(order_event()), headers=given) for _ in range(2)
    )

    traces = [Trace.read(answer.headers["traceparent"]) for answer in (first, second)]
    assert all(traces)
    assert len({trace.trace_id for trace in traces if trace}) == 2
    assert [dict(m.headers)["traceparent"].decode() for m in broker.messages["order-created"]] == [
        answer.headers["traceparent"] for answer in (first, second)
    ]


def test_every_wrong_field_is_named_with_its_path(call: Call, broker: MemoryPublisher) -> None:
    event = order_event(
        event_time="yesterday",
        branch_id=MISSING,
        status="lost",
        items=[order_item(), order_item(quantity=0, unit_price="secret-price")],
    )
    response = call("POST", CREATED, content=as_json(event))

    assert response.status_code == 422
    assert {f["path"] for f in response.json()["fields"]} == {
        "event_time",
        "order.branch_id",
        "order.status",
        "order.items[1].quantity",
        "order.items[1].unit_price",
    }
    assert "secret-price" not in response.text
    assert not broker.messages


def test_an_event_on_the_route_of_another_type_is_refused(
    call: Call, broker: MemoryPublisher
) -> None:
    response = call("POST", f"{EVENTS}/order-updated", content=as_json(status_event()))

    assert response.status_code == 422
    assert [(f["path"], f["code"]) for f in response.json()["fields"]] == [
        ("event_type", "wrong_route")
    ]
    assert not broker.messages


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"\xff\xfe{\x00}\x00",
        b"[" * 4000,
        b'{"a": 1e-99999999999999999999}',
        b'{"a": ' + b"9" * 4000 + b".0" + b"9" * 50,
    ],
    ids=["empty", "cut", "nan", "twice", "utf16", "deep", "exponent", "cut number"],
)
def test_what_is_no_json_is_refused_as_json(call: Call, body: bytes) -> None:
    response = call("POST", CREATED, content=body)

    assert response.status_code == 400
    assert response.json()["error"] == "invalid_json"


def test_a_lone_surrogate_is_a_wrong_field(call: Call) -> None:
    body = as_json(order_event()).replace(b'"O-1"', b'"\\ud800"')
    assert call("POST", CREATED, content=body).json()["fields"][0]["path"] == "order.order_id"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"O-1"', b'"O\\u0000"'),
        (b'"O-1"', b'"O-1", "note": "\\uDBFF"'),
        (b'"O-1"', b'"O-1", "note": "\\\\uD83D\\uDE00"'),
        (b'"O-1"', b'"O-1", "note": 1e1000'),
        (b'"O-1"', b'"O-1", "note": [' + b"7" * 1001 + b"]"),
    ],
    ids=["nul", "half a pair", "half behind a backslash", "exponent", "digits"],
)
def test_what_the_streams_would_reject_as_unstorable_is_refused(
    call: Call, broker: MemoryPublisher, old: bytes, new: bytes
) -> None:
    body = as_json(order_event()).replace(old, new)
    assert not is_storable(body)

    alone, batch = (
        call("POST", CREATED, content=body),
        call("POST", f"{CREATED}/batch", content=b"[%s]" % body),
    )
    assert (alone.status_code, batch.json()["results"][0]["status"]) == (422, 422)
    assert [f["code"] for f in alone.json()["fields"]] == ["unstorable"]
    assert not broker.messages


@pytest.mark.parametrize(
    "text", ["SKU:7E0012", "12, 5e2024", "C:\\u0000", '"' + "7" * 1001, "\U0001f600"]
)
def test_a_text_that_looks_like_what_cannot_be_stored_is_taken(call: Call, text: str) -> None:
    body = json.dumps(order_event(extra={"note": text}))
    assert call("POST", CREATED, content=body.encode()).status_code == 202


def test_a_body_over_the_limit_is_refused_by_its_length(call: Call) -> None:
    response = call("POST", CREATED, content=b"x" * 4097)

    assert response.status_code == 413
    assert response.headers["connection"] == "close"


def test_a_chunked_body_is_refused_while_it_is_read(call: Call) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1024
            yield b"x" * 1024

    assert call("POST", CREATED, content=endless()).status_code == 413
    assert sent == 5 * 1024


def test_a_body_just_under_the_limit_is_accepted(call: Call) -> None:
    body = as_json(order_event())
    assert call("POST", CREATED, content=body + b" " * (4096 - len(body))).status_code == 202


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("deflate", zlib.compress)],
)
def test_a_compressed_event_is_sent_as_it_was_before(
    call: Call, broker: MemoryPublisher, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = as_json(order_event())
    coded = {"content-encoding": encoding}
    assert call("POST", CREATED, content=compress(body), headers=coded).status_code == 202
    assert broker.messages["order-created"][0].value == body


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(b" " * 4097), "gzip", 413),
        (zlib.compress(b" " * 50_000_000), "deflate", 413),
        (as_json(order_event()), "gzip", 400),
        (gzip.compress(as_json(order_event()))[:-9], "gzip", 400),
        (gzip.compress(as_json(order_event())) + b"more", "gzip", 400),
        (gzip.compress(as_json(order_event())), "deflate", 400),
        (as_json(order_event()), "br", 415),
        (gzip.compress(gzip.compress(as_json(order_event()))), "gzip, gzip", 415),
    ],
    ids=["large", "bomb", "not gzip", "cut", "longer", "mistaken", "unknown", "twice"],
)
def test_a_body_that_cannot_be_decompressed_within_the_limit_is_refused(
    call: Call, broker: MemoryPublisher, body: bytes, encoding: str, status: int
) -> None:
    limited = call("POST", CREATED, content=body[:4096], headers={"content-encoding": encoding})
    assert (limited.status_code, broker.messages) == (status, {})
    assert ("accept-encoding" in limited.headers) == (status == 415)


def test_an_order_of_a_branch_that_the_store_file_lacks_is_refused(
    broker: MemoryPublisher, tmp_path: Path
) -> None:
    stores = tmp_path / "stores.toml"
    settings = load_settings(stores_file=stores)
    call = partial(request, create_app(settings, broker, MemoryKeys()))
    north = as_json(order_event(branch_id="B-north"))
    known = (CONF_DIR / "stores" / "demo.toml").read_text(encoding="utf-8")

    assert call("POST", CREATED, content=north).status_code == 202  # no file: nobody is refused
    stores.write_text(known, encoding="utf-8")
    refused = call("POST", CREATED, content=as_json(order_event(branch_id="B-north")))
    assert refused.status_code == 422
    assert [fault["path"] for fault in refused.json()["fields"]] == ["order.branch_id"]
    stores.write_text(known.replace('"B01"', '"B-north"'), encoding="utf-8")
    assert call("POST", CREATED, content=as_json(order_event(branch_id="B-north"))).is_success


@pytest.mark.parametrize("fault", ["down", "stalled"])
def test_without_an_acknowledgement_the_till_is_to_retry(
    call: Call, broker: MemoryPublisher, fault: str
) -> None:
    setattr(broker, fault, True)
    response = call("POST", CREATED, content=as_json(order_event()))

    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert response.json()["error"] == "broker_unavailable"

    setattr(broker, fault, False)
    assert call("POST", CREATED, content=as_json(order_event())).status_code == 202


def test_the_answer_waits_for_the_broker(app: FastAPI, broker: MemoryPublisher) -> None:
    async def scenario() -> tuple[bool, int]:
        acknowledge = asyncio.Event()
        send = broker.send

        async def slow(message: OutgoingMessage) -> Outcome:
            await acknowledge.wait()
            return await send(message)

        def send_slowly(message: OutgoingMessage) -> asyncio.Future[Outcome]:
            return asyncio.ensure_future(slow(message))

        broker.send = send_slowly  # type: ignore[method-assign]
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://gateway", headers=bearer(TILL)
        ) as client:
            answer = asyncio.create_task(client.post(CREATED, content=as_json(order_event())))
            # Another request is served meanwhile: the wait does not block the event loop.
            alive = await client.get("/health")
            early = answer.done()
            acknowledge.set()
            return early or not alive.is_success, (await answer).status_code

    assert asyncio.run(scenario()) == (False, 202)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", CREATED, 405), ("POST", f"{EVENTS}/order-lost", 404)],
)
def test_unknown_routes_are_refused_as_json(
    call: Call, method: str, path: str, status: int
) -> None:
    response = call(method, path)

    assert response.status_code == status
    assert response.json()["error"] == "http_error"


def test_health_is_about_the_process_and_ready_about_the_broker(
    call: Call, broker: MemoryPublisher
) -> None:
    assert [call("GET", p).status_code for p in ("/health", "/ready")] == [200, 200]
    broker.down = True
    assert [call("GET", p).status_code for p in ("/health", "/ready")] == [200, 503]


def test_the_openapi_page_has_the_event_models(call: Call) -> None:
    document = call("GET", "/openapi.json").json()

    body = document["paths"][CREATED]["post"]["requestBody"]["content"]["application/json"]
    versions = ("OrderEvent", "OrderEventV2", "OrderEventV3")
    assert body["schema"] == {"oneOf": [{"$ref": f"#/components/schemas/{v}"} for v in versions]}
    assert {*versions, "StatusChangedEvent", "Item", "Accepted", "Refused"} <= set(
        document["components"]["schemas"]
    )
    assert "$defs" not in json.dumps(document)


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("gateway", "DEBUG", stream)
    yield stream
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def test_logs_are_json_with_the_request_id_and_without_the_payload(
    limits: Settings, broker: MemoryPublisher, log_lines: io.StringIO
) -> None:
    request = httpx.ASGITransport(create_app(limits, broker, MemoryKeys()))
    event = order_event(event_id=event_id("logged"), customer_id="C-private")

    async def post(body: bytes) -> httpx.Response:
        async with httpx.AsyncClient(transport=request, base_url="http://gateway") as client:
            return await client.post(
                CREATED, content=body, headers={**bearer(TILL), "x-request-id": "till-7"}
            )

    good = asyncio.run(post(as_json(event)))
    bad = asyncio.run(post(as_json(event | {"source": ["C-private"]})))

    assert (good.headers["x-request-id"], bad.status_code) == ("till-7", 422)
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    ours = [line for line in lines if line["event"] == "request"]
    assert [(line["request_id"], line["status"]) for line in ours] == [
        ("till-7", 202),
        ("till-7", 422),
    ]
    assert {line["key"] for line in ours} == {TILL.id}
    assert TILL.secret not in log_lines.getvalue()
    assert ours[0]["trace_id"] in good.headers["traceparent"]
    assert {line["process"] for line in lines} == {"gateway"}
    assert "C-private" not in log_lines.getvalue()


def test_an_unexpected_error_is_a_json_500_with_a_request_id(
    call: Call, broker: MemoryPublisher
) -> None:
    def broken(message: OutgoingMessage) -> asyncio.Future[Outcome]:
        raise RuntimeError("boom")

    broker.send = broken  # type: ignore[method-assign]
    response = call("POST", CREATED, content=as_json(order_event()))

    assert response.status_code == 500
    assert response.json()["error"] == "internal_error"
    assert response.headers["x-request-id"]


def test_the_end_of_the_application_flushes_the_publisher(limits: Settings) -> None:
    broker = MemoryPublisher()
    application = create_app(limits, broker, MemoryKeys())

    async def life() -> bool:
        async with application.router.lifespan_context(application):
            return broker.down

    assert asyncio.run(life()) is False
    assert broker.down is True  # closed: nothing is published any more
