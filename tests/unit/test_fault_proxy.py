"""The proxy of `make verify-faults`: it forwards, becomes silent, or tampers with traffic."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.process import wait_until
from verification.faults.proxy import PortEditor, ResetConnection, TcpProxy
from verification.faults.tampering import LostCommit, LostProduce, LostPut, ResetInCopy, Unavailable

USER_TIMEOUT_MS = 500


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while data := connection.recv(1024):
                    connection.sendall(data)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo: int) -> Iterator[TcpProxy]:
    with closing(TcpProxy(echo)) as made:
        yield made


def connect(proxy: TcpProxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    connection.sendall(b"hello")
    assert connection.recv(5) == b"hello"
    return connection


def test_the_kernel_of_the_other_side_acknowledges_nothing(proxy: TcpProxy) -> None:
    with connect(proxy) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        proxy.silence()
        client.sendall(b"are you there")
        client.settimeout(10)
        with pytest.raises(OSError, match="timed out") as raised:
            client.recv(1)
    assert raised.value.errno == errno.ETIMEDOUT


def test_new_connections_work_while_old_ones_are_silent(proxy: TcpProxy) -> None:
    with connect(proxy):
        proxy.silence()
        with connect(proxy):
            assert proxy.live == 1
            assert proxy.silence() == 1


def test_a_connection_that_its_client_closes_is_dropped(proxy: TcpProxy) -> None:
    connect(proxy).close()
    assert wait_until(lambda: proxy.live == 0, 5)


def address(port: int) -> bytes:
    return b"127.0.0.1" + struct.pack(">i", port)


def answer(content: bytes) -> bytes:
    return struct.pack(">i", len(content)) + content


@given(st.lists(st.integers(1, 40), max_size=20), st.lists(st.binary(max_size=30), max_size=4))
def test_the_port_is_replaced_wherever_the_answers_are_cut(
    cuts: list[int], contents: list[bytes]
) -> None:
    edit, kept, got = PortEditor(19092, 40000), b"", b""
    other = address(19093)
    left = b"".join(answer(some + address(19092) + other + some) for some in contents)
    wanted = b"".join(answer(some + address(40000) + other + some) for some in contents)
    for size in [*cuts, len(left)]:
        chunk, left = left[:size], left[size:]
        data, kept = edit(kept + chunk)
        got += data
    assert (got, kept) == (wanted, b"")


# -- tampering -------------------------------------------------------------------------------------


def test_an_s3_that_is_unavailable_answers_in_place_of_the_server(proxy: TcpProxy) -> None:
    tamper, answers = Unavailable(), []
    with proxy.tampering(tamper):
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
                client.sendall(b"PUT /lake/x HTTP/1.1\r\n\r\n")
                answers.append(client.recv(1024)[9:12])
    assert answers == [b"500", b"503"]
    connect(proxy).close()


def test_a_reset_reaches_the_client(proxy: TcpProxy) -> None:
    with connect(proxy) as client:
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_the_reply_to_a_commit_is_lost_once_for_each_table() -> None:
    tamper = LostCommit()
    assert tamper.response("a", b"COMMIT\0") == b"COMMIT\0"
    tamper.request("a", b'COPY "order_events" FROM STDIN (FORMAT binary)')
    assert tamper.response("a", b"COPY 3\0") == b"COPY 3\0"
    with pytest.raises(ResetConnection):
        tamper.response("a", b"COMMIT\0")
    tamper.request("b", b'COPY "order_events" FROM STDIN (FORMAT binary)')
    assert tamper.response("b", b"COMMIT\0") == b"COMMIT\0"
    assert tamper.fired == ["order_events"]


def test_half_of_the_rows_of_a_copy_reach_the_server() -> None:
    tamper = ResetInCopy()
    tamper.request("a", b'COPY "frame_counts" FROM STDIN (FORMAT binary)')
    with pytest.raises(ResetConnection) as raised:
        tamper.request("a", b"d" + bytes(99))
    assert len(raised.value.last) == 50


def test_the_acknowledgement_of_a_produce_request_is_lost() -> None:
    tamper = LostProduce(["detections"])
    request = answer(struct.pack(">hhi", 0, 9, 7) + b"..detections..")
    tamper.request("a", request[:9])
    tamper.request("a", request[9:])
    assert tamper.response("a", answer(struct.pack(">i", 6))) == answer(struct.pack(">i", 6))
    with pytest.raises(ResetConnection):
        tamper.response("a", answer(struct.pack(">i", 7)))


def test_the_reply_to_a_stored_object_is_lost_once_for_each_table_and_kind() -> None:
    tamper = LostPut()
    tamper.request("a", b"GET /b/bronze/detections/data/day=1/x.parquet HTTP/1.1\r\n")
    assert tamper.response("a", b"HTTP/1.1 200 OK")
    tamper.request("a", b"PUT /b/bronze/detections/data/day=1/x.parquet HTTP/1.1\r\n")
    with pytest.raises(ResetConnection):
        tamper.response("a", b"HTTP/1.1 200 OK")
    assert tamper.fired == ["detections/data"]
