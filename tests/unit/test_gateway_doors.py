"""What strangers may do to the gateway's ports: little, and not for long."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import reduce
from typing import Any

import pytest

from conf.settings import HttpSettings
from infra.local.process import wait_until
from tests.support.builders import as_json, order_event
from tests.support.http_attacks import EVENTS, TILL, Served, serve_gateway

QUICK = HttpSettings(head_seconds=2, body_seconds=2, idle_seconds=2, max_connections=300)
HEAD = f"POST {EVENTS} HTTP/1.1\r\nHost: g\r\n{TILL}"
CLOSE = HEAD + "Connection: close\r\n"
ORDER = as_json(order_event())
LENGTH = f"Content-Length: {len(ORDER)}\r\n"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Served]:
    with serve_gateway(QUICK) as served:
        yield served


def status(answer: bytes) -> int | None:
    """The status of an answer; None: the connection was closed without one."""
    return int(answer[9:12]) if answer.startswith(b"HTTP/1.1 ") else None


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it; what it answered before is read."""
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def trickle(connection: socket.socket, byte: bytes) -> None:
    """One byte more, if the other side still takes it."""
    with suppress(OSError):
        connection.send(byte)


def test_two_hundred_half_open_requests_are_closed_while_others_are_served(
    gateway: Served,
) -> None:
    begins = {
        "nothing": b"",
        "half a head": HEAD[:40].encode(),
        "a head without a body": f"{HEAD}{LENGTH}\r\n".encode(),
        "empty lines": b"\r\n",
        "a chunk without its end": f"{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n{{".encode(),
        "an answer, then silence": b"GET /health HTTP/1.1\r\nHost: g\r\n\r\n",
        "an answer, then empty lines": b"GET /health HTTP/1.1\r\nHost: g\r\n\r\n\r\n",
        "a rejection before the body": HEAD.replace("/api", "/none").encode()
        + b"Content-Length: 99\r\n\r\n",
    }
    more = {"half a head": b"a", "a head without a body": b" ", "empty lines": b"\r\n"}
    more |= {"an answer, then empty lines": b"\r\n", "a rejection before the body": b" "}
    held = [(kind, gateway.connect()) for kind in begins for _ in range(25)]
    for kind, connection in held:
        connection.setblocking(False)
        connection.send(begins[kind])

    def all_are_closed() -> bool:
        for kind, connection in held:
            trickle(connection, more.get(kind, b""))
        assert status(gateway.get("/health")) == 200
        held[:] = [one for one in held if not is_closed(one[1])]
        return not held

    assert wait_until(all_are_closed, 15), {kind for kind, _ in held}
    assert status(gateway.send(f"{CLOSE}{LENGTH}\r\n".encode() + ORDER)) in {200, 202}


def test_a_client_that_reads_no_answer_is_disconnected(gateway: Served) -> None:
    connection = gateway.connect(gateway.operations_port)
    connection.setblocking(False)
    page = b"GET /openapi.json HTTP/1.1\r\nHost: g\r\n\r\n" * 100
    with pytest.raises(ConnectionError):
        wait_until(lambda: flood(connection, page), 30)


def flood(connection: socket.socket, data: bytes) -> bool:
    with suppress(BlockingIOError):
        connection.send(data)
    return False


@pytest.mark.parametrize(
    ("begin", "expected"),
    [(HEAD[:40], 408), (f"{HEAD}{LENGTH}\r\n{{", 408), (f"{HEAD}X: {'y' * 65536}\r\n\r\n", 431)],
)
def test_a_late_or_large_request_gets_the_reason(
    gateway: Served, begin: str, expected: int
) -> None:
    answer = gateway.send(begin.encode())
    assert status(answer) == expected
    assert b"connection: close" in answer
    assert b'"error"' in answer


def test_a_connection_above_the_limit_is_refused_and_operators_are_not() -> None:
    with serve_gateway(QUICK.model_copy(update={"max_connections": 3})) as served:
        held = [served.connect() for _ in range(3)]
        assert wait_until(lambda: status(served.get("/health")) == 503, 5)
        assert status(served.get("/health", served.operations_port)) == 200
        for connection in held:
            connection.close()
        assert wait_until(lambda: status(served.get("/health")) == 200, 5)


def test_only_the_operations_port_has_metrics_and_documentation(gateway: Served) -> None:
    hidden = ("/metrics", "/docs", "/openapi.json", "/api/kafka/test-connection", "/redoc")
    spellings = (
        "/METRICS",
        "//metrics",
        "/./metrics",
        "/%6detrics",
        "/metrics%00",
        "/x/../metrics",
    )
    for path in (*hidden, *spellings, "http://g/metrics", "/metrics/", "/metrics;x", "/metrics?a"):
        answer = gateway.get(path)
        assert status(answer) in {400, 404}, (path, answer[:200])
    for path in hidden[:-1]:
        assert status(gateway.get(path, gateway.operations_port)) == 200
    event = f"{CLOSE}{LENGTH}\r\n".encode() + ORDER
    assert status(gateway.send(event, gateway.operations_port)) == 404
    for port in (gateway.port, gateway.operations_port):
        assert {status(gateway.get(path, port)) for path in ("/health", "/ready")} == {200}
    answer = gateway.get("/health").lower()
    assert b"x-content-type-options: nosniff" in answer
    assert b"cache-control: no-store" in answer


BOMB = gzip.compress(b"[" + b" " * 50_000_000 + b"]")


def chunked(encoding: str, body: bytes = ORDER) -> bytes:
    head = f"{CLOSE}Transfer-Encoding: {encoding}\r\n\r\n".encode()
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def post(path: str = EVENTS, headers: str = "", body: bytes = ORDER, method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: g\r\nConnection: close\r\n{TILL}{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


GARBAGE = {
    "two lengths": post(headers=LENGTH.replace("Length: ", "Length: 1")),
    "a length and chunks": chunked(f"chunked\r\n{LENGTH.strip()}"),
    "a length below zero": f"{CLOSE}Content-Length: -1\r\n\r\n".encode(),
    "a length beyond numbers": f"{CLOSE}Content-Length: {'9' * 40}\r\n\r\n".encode(),
    "a length in words": f"{CLOSE}Content-Length: many\r\n\r\n".encode(),
    "an unknown transfer encoding": chunked("xchunked"),
    "chunked before another": chunked("chunked, identity"),
    "chunked twice": chunked("chunked\r\nTransfer-Encoding: gzip"),
    "a chunk beyond numbers": f"{CLOSE}Transfer-Encoding: chunked\r\n\r\n{'f' * 20}\r\n".encode(),
    "a long extension of a chunk": chunked("chunked").replace(b"\r\n{", b";x=" + b"y" * 30_000),
    "a trailer": chunked("chunked")[:-2] + b"Authorization: x\r\n\r\n",
    "HTTP/0.9": b"GET /health\r\n",
    "HTTP/3.7": b"GET /health HTTP/3.7\r\nHost: g\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a handshake of TLS": bytes.fromhex("16030100c8010000c40303") + bytes(60),
    "zeros": bytes(500),
    "a very long URL": post(EVENTS + "?" + "a" * 60_000),
    "NUL in the URL": post(EVENTS + "\0"),
    "a control character in a header": post(headers="X-Request-ID: a\0b\r\n"),
    "a line break alone in a header": post(headers="traceparent: a\rX-Evil: 1\r\n"),
    "a folded header": post(headers="traceparent: a\r\n b\r\n"),
    "a space before the colon": post(headers="Content-Encoding : gzip\r\n"),
    "a header of 64 KiB": post(headers=f"X-Large: {'x' * 65536}\r\n"),
    "twenty thousand headers": post(headers="X: y\r\n" * 20_000),
    "10 MB": post(body=b"[" + b" " * 10_000_000 + b"]"),
    "10 MB in chunks": chunked("chunked", b" " * 10_000_000),
    "a bomb": post(headers="Content-Encoding: gzip\r\n", body=BOMB),
    "a bomb in a batch": post(EVENTS + "/batch", "Content-Encoding: gzip\r\n", BOMB),
    "compressed twice": post(headers="Content-Encoding: gzip, gzip\r\n"),
    "half of a compressed body": post(
        headers="Content-Encoding: gzip\r\n", body=gzip.compress(ORDER)[:-9]
    ),
    "invalid UTF-8": post(body=ORDER.replace(b"B", b"\xff", 1)),
    "NUL in the body": post(body=ORDER[:-1] + b"\0}"),
    "an upgrade": post(headers="Upgrade: h2c\r\nConnection: Upgrade\r\n"),
    "a method that is none": post(method="HACK"),
    **{f"the method {name}": post(method=name) for name in ("PUT", "DELETE", "PATCH", "TRACE")},
    "CONNECT": b"CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n",
    **{
        f"the path {path}": post(path)
        for path in (
            "//api/kafka/events/order-created",
            "/api//kafka/events/order-created",
            "/api/kafka/events/%2e%2e/order-created",
            "/api/kafka/events/../events/order-created",
            "/api%2fkafka%2fevents%2f..%2forder-created",
            "/api/kafka/events/order-created%00",
            "/api/kafka/events/order-created%2f..",
            "/API/KAFKA/EVENTS/ORDER-CREATED",
            "/api/kafka/events/order-created;a=b",
            "/api/kafka/events/örder-created",
            "/api\\kafka\\events\\order-created",
            "*",
        )
    },
}


@pytest.mark.parametrize("request_bytes", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_gets_a_rejection_and_no_row(gateway: Served, request_bytes: bytes) -> None:
    gateway.broker.messages.clear()
    answer = gateway.send(request_bytes)
    found = status(answer)
    assert found is None or 400 <= found < 500, answer[:300]
    assert not any(gateway.broker.messages.values())
    assert status(gateway.get("/health")) == 200


def test_no_header_of_a_client_becomes_one_of_a_message(gateway: Served) -> None:
    gateway.broker.messages.clear()
    evil = "traceparent: 00-%0d%0aevil: 1\r\nX-Request-ID: a%0d%0ab\r\nEvil: 1\r\nKey: evil\r\n"
    answer = gateway.send(post(headers=evil, body=as_json(order_event())))
    assert status(answer) == 202
    (message,) = gateway.broker.messages["order-created"]
    headers = dict(message.headers)
    assert headers.keys() == {"content-type", "traceparent"}
    assert b"evil" not in b"".join(headers.values())


SQL = "x'; DROP TABLE orders; --"


def fields(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value within a value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, one in inner:
        yield (*path, key)
        yield from fields(one, (*path, key))


@pytest.mark.parametrize("path", list(fields(order_event())), ids=str)
def test_sql_in_a_field_is_text_or_a_rejection(
    gateway: Served, path: tuple[str | int, ...]
) -> None:
    gateway.broker.messages.clear()
    event: Any = order_event()
    place = reduce(lambda value, key: value[key], path[:-1], event)
    place[path[-1]] = SQL
    body = as_json(event)
    answer = gateway.send(post(body=body))
    taken = [message.value for messages in gateway.broker.messages.values() for message in messages]
    assert (status(answer), taken) in [(202, [body]), (422, []), (400, [])]
