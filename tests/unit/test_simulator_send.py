"""`send` against the real gateway application in this process, with a broker in memory."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

import simulator.send as sending
from cli.main import app
from conf.errors import StorelakeError
from conf.settings import Settings, load_settings
from gateway.app import create_app
from gateway.producer import MemoryPublisher, Outcome, OutgoingMessage, publish
from gateway.rejections import UnavailableError
from simulator.ledger import Delivery, SendReport, digest, read_ledger
from simulator.transport import GatewayTransport
from tests.conftest import free_ports
from tests.support.gateway_keys import TILL, MemoryKeys


@pytest.fixture(scope="module")
def tree() -> Settings:
    return load_settings(gateway={"key": TILL.text})


class Gateway:
    """The gateway in this process, which counts its responses."""

    def __init__(self, settings: Settings, broker: MemoryPublisher) -> None:
        self.broker = broker
        self.statuses: Counter[int] = Counter()
        self.open(settings)

    def open(self, settings: Settings) -> None:
        self._inner = httpx.ASGITransport(create_app(settings, self.broker, MemoryKeys()))

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        await response.aread()
        self.statuses[response.status_code] += 1
        return response


@pytest.fixture
def gateway(tree: Settings, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    opened = Gateway(tree, MemoryPublisher())

    class Inside(GatewayTransport):
        def __init__(self, settings: Settings, **options: Any) -> None:
            super().__init__(settings, transport=httpx.MockTransport(opened), **options)

    monkeypatch.setattr(sending, "GatewayTransport", Inside)
    monkeypatch.setattr("simulator.transport.BACKOFF_BASE", 0.001)
    return opened


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_event_is_accepted_and_in_the_ledger(
    tree: Settings, gateway: Gateway, tmp_path: Path
) -> None:
    report = sending.send(tree, count=120, seed=3, ledger=tmp_path / "new" / "sent.ndjson")

    assert (report.sent, report.accepted, report.failed, report.rejected) == (120, 120, 0, 0)
    assert report.by_type.total() == 120
    entries = lines(tmp_path / "new" / "sent.ndjson")
    kept = {
        (topic, offset): json.loads(message.value)
        for topic, messages in gateway.broker.messages.items()
        for offset, message in enumerate(messages)
    }
    assert len(entries) == len(kept) == 120
    for line in entries:
        event = kept[line["topic"], line["offset"]]
        assert line["event_id"] == event["event_id"]
        assert line["event_time"] == event["event_time"]
        if line["total_price"] is not None:
            assert float(line["total_price"]) == event["order"]["total_price"]
    assert {line["outcome"] for line in entries} == {"accepted"}


def test_events_of_one_order_arrive_one_after_the_other(tree: Settings, gateway: Gateway) -> None:
    arrived: dict[str, list[str]] = defaultdict(list)
    pass_on = gateway.broker.send

    def watch(message: OutgoingMessage) -> asyncio.Future[Outcome]:
        arrived[message.key.decode()].append(json.loads(message.value)["event_time"])
        return pass_on(message)

    gateway.broker.send = watch  # type: ignore[method-assign]
    sending.send(tree, count=300, concurrency=8)

    assert max(map(len, arrived.values())) >= 3
    assert all(times == sorted(times) for times in arrived.values())


def test_an_unavailable_broker_is_tried_again_with_the_same_event(
    tree: Settings, gateway: Gateway, tmp_path: Path
) -> None:
    impatient = tree.model_copy(
        update={"gateway": tree.gateway.model_copy(update={"retry_after_seconds": 0})}
    )
    gateway.open(impatient)
    pass_on, refused = gateway.broker.send, Counter[bytes]()

    def flaky(message: OutgoingMessage) -> asyncio.Future[Outcome]:
        if refused[message.value] == 2:
            return pass_on(message)
        refused[message.value] += 1
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        outcome.set_result(UnavailableError("not yet"))
        return outcome

    gateway.broker.send = flaky  # type: ignore[method-assign]
    report = sending.send(tree, count=20, ledger=tmp_path / "sent.ndjson")

    assert (report.accepted, report.failed, report.retries) == (20, 0, 40)
    assert gateway.statuses == {503: 40, 202: 20}
    assert len({line["event_id"] for line in lines(tmp_path / "sent.ndjson")}) == 20


def test_a_proxy_that_names_a_date_is_tried_again_for_as_long_as_it_takes(
    tree: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.transport.BACKOFF_MAX", 0.0)
    closed = {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}
    answers = iter([httpx.Response(503, headers=closed)] * 1100)
    taken = httpx.Response(202, json={"partition": 0, "offset": 7})
    proxy = httpx.MockTransport(lambda _: next(answers, taken))
    monkeypatch.setattr(sending, "GatewayTransport", partial(GatewayTransport, transport=proxy))
    report = sending.send(tree, count=1, patience=3600)
    assert (report.accepted, report.retries) == (1, 1100)


def test_what_nobody_takes_counts_as_failed_and_is_in_the_ledger(
    tree: Settings, gateway: Gateway, tmp_path: Path
) -> None:
    gateway.broker.down = True
    report = sending.send(tree, count=10, patience=0.01, ledger=tmp_path / "sent.ndjson")

    assert (report.sent, report.failed, report.failures) == (10, 10, {"HTTP 503": 10})
    assert [line["outcome"] for line in lines(tmp_path / "sent.ndjson")] == ["failed"] * 10


def test_what_the_gateway_refuses_for_good_counts_as_rejected(
    tree: Settings, gateway: Gateway
) -> None:
    tiny = tree.model_copy(
        update={"gateway": tree.gateway.model_copy(update={"max_body_bytes": 600})}
    )
    gateway.open(tiny)
    report = sending.send(tree, count=100)

    assert report.rejected > 0
    assert report.failures == {"HTTP 413": report.rejected}
    assert report.accepted + report.rejected == report.sent == 100


def test_stop_ends_an_endless_run(tree: Settings, gateway: Gateway) -> None:
    stop = Event()

    def watch(report: SendReport) -> None:
        if report.sent >= 5:
            stop.set()

    report = sending.send(tree, rate=6000, on_progress=watch, stop=stop)
    assert report.sent == report.accepted >= 5


def test_a_rate_is_kept(tree: Settings, gateway: Gateway) -> None:
    began = time.monotonic()
    report = sending.send(tree, rate=1200, seconds=1)
    assert report.sent <= 20
    assert time.monotonic() - began > 0.9


def test_progress_ends_with_the_final_report(tree: Settings, gateway: Gateway) -> None:
    progress: list[int] = []
    report = sending.send(tree, count=30, on_progress=lambda r: progress.append(r.sent))
    assert progress[-1] == report.sent == 30


def test_a_ledger_that_cannot_be_written_is_named(
    tree: Settings, gateway: Gateway, tmp_path: Path
) -> None:
    with pytest.raises(StorelakeError, match="cannot be written: Is a directory"):
        sending.send(tree, count=1, ledger=tmp_path)
    assert not gateway.statuses


def test_a_fault_of_the_sender_ends_the_run_instead_of_hanging(
    tree: Settings, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: object, event: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(GatewayTransport, "deliver", broken)
    with pytest.raises(RuntimeError, match="boom"):
        sending.send(tree, count=10)


# -- late, repeated, invented ----------------------------------------------------------------------


class Beside:
    """Kafka past the gateway: the same broker in memory, without HTTP."""

    broker = MemoryPublisher()

    def __init__(self, kafka: object, patience: float) -> None:
        self.sent = 0

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, done: Callable[[Delivery], None]
    ) -> None:
        receipt = await publish(self.broker, OutgoingMessage(topic, key or b"", value or b""))
        done(Delivery("accepted", topic, receipt.partition, receipt.offset))

    def poll(self) -> None:
        pass

    async def drain(self) -> None:
        pass


@pytest.fixture
def both_ways(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    monkeypatch.setattr(Beside, "broker", gateway.broker)
    monkeypatch.setattr(sending, "KafkaTransport", Beside)
    return gateway


def test_late_events_show_another_time_than_the_one_they_were_made_at(
    tree: Settings, gateway: Gateway, tmp_path: Path
) -> None:
    report = sending.send(tree, count=300, late=0.2, ledger=tmp_path / "sent.ndjson")

    entries = read_ledger(tmp_path / "sent.ndjson")
    late = [entry for entry in entries if entry.late]
    assert report.late == len(late) > 20
    least = timedelta(hours=2) + tree.streams.allowed_lateness + tree.streams.watermark
    assert all(entry.made_at - entry.event_time >= least for entry in late)
    assert all(entry.made_at == entry.event_time for entry in entries if not entry.late)
    by_offset = {(line["topic"], line["offset"]): line for line in lines(tmp_path / "sent.ndjson")}
    for (topic, offset), line in by_offset.items():
        event = json.loads(gateway.broker.messages[topic][offset].value)
        assert event["event_time"] == line["event_time"]
        if line["late"]:
            assert event["order"]["created_at"] == event["event_time"]


def test_late_events_wait_until_they_would_be_late(tree: Settings, gateway: Gateway) -> None:
    asked: list[int] = []

    def late_from() -> bool:
        asked.append(len(gateway.statuses))
        return len(asked) >= 3

    report = sending.send(tree, count=50, late=0.5, late_from=late_from)

    assert report.sent == report.accepted == 50
    assert len(asked) == 3


def test_repeats_have_the_same_bytes_and_come_after_the_first(
    tree: Settings, both_ways: Gateway, tmp_path: Path
) -> None:
    ledger = tmp_path / "sent.ndjson"
    report = sending.send(tree, count=400, duplicates=0.3, ledger=ledger)

    entries = read_ledger(ledger)
    repeats = [entry for entry in entries if entry.duplicate_of]
    firsts = {entry.event_id: entry for entry in entries if not entry.duplicate_of}
    assert report.sent == report.accepted == 400
    assert report.duplicates == len(repeats) > 60
    assert len(firsts) + len(repeats) == 400
    for entry in repeats:
        first = firsts[entry.event_id]
        assert (entry.digest, entry.order_id) == (first.digest, first.order_id)
        assert entry.position is not None
        assert first.position is not None
        assert entry.position >= first.position  # the same one, where the gateway recognises it


def test_about_half_of_the_repeats_go_past_the_gateway(tree: Settings, both_ways: Gateway) -> None:
    report = sending.send(tree, count=400, duplicates=0.3)

    through = both_ways.statuses[200] + both_ways.statuses[202]
    past = report.sent - through
    assert 0.3 * report.duplicates < past < 0.7 * report.duplicates


def test_a_repeat_of_what_nobody_took_is_a_first_try(
    tree: Settings, both_ways: Gateway, tmp_path: Path
) -> None:
    both_ways.broker.down = True
    ledger = tmp_path / "sent.ndjson"
    report = sending.send(tree, count=60, duplicates=0.5, patience=0.01, ledger=ledger)

    assert (report.sent, report.failed, report.duplicates) == (60, 60, 0)
    assert all(entry.duplicate_of is None for entry in read_ledger(ledger))


def test_the_ledger_has_the_fingerprint_of_every_message(
    tree: Settings, both_ways: Gateway, tmp_path: Path
) -> None:
    ledger = tmp_path / "sent.ndjson"
    report = sending.send(tree, count=200, poison=0.3, source="synthetic", ledger=ledger)

    assert report.poisoned > 30
    for entry in read_ledger(ledger):
        assert entry.position is not None
        topic, _, offset = entry.position
        value = both_ways.broker.messages[topic][offset].value
        assert entry.digest in (digest(value), None if value == b"" else digest(value))


def test_a_shop_without_real_baskets_sells_invented_ones(
    tree: Settings, gateway: Gateway, tmp_path: Path
) -> None:
    report = sending.send(tree, count=100, source="synthetic", ledger=tmp_path / "sent.ndjson")

    assert report.accepted == 100
    kept = [json.loads(m.value) for sent in gateway.broker.messages.values() for m in sent]
    products = {item["product_id"] for event in kept for item in event["order"].get("items", ())}
    assert products
    assert all(product.startswith("S") for product in products)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "No gateway listens at 127.0.0.1:"),
        (("--via", "kafka"), "Kafka does not listen at 127.0.0.1:"),
    ],
)
def test_a_target_that_does_not_listen_ends_the_command_at_once(
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    kafka, gateway = free_ports(2)
    nobody = load_settings(kafka={"port": kafka}, gateway={"port": gateway})
    monkeypatch.setattr("cli.send.read_settings", lambda: nobody)
    result = CliRunner().invoke(app, ["send", "--count", "1", *options])
    assert result.exit_code == 1
    assert words in str(result.exception)
    assert "`storelake up`" in str(result.exception)
