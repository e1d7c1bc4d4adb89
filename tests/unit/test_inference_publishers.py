"""The suite of all publishers on those without a broker, and the buffer in front of a broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conf.settings import Settings, SettingsError
from inference_service.publishers import PublishError, open_publisher
from inference_service.publishers.buffered import AwayError, BufferedPublisher, RefusedError
from inference_service.publishers.memory import MemoryEventPublisher
from inference_service.publishers.ndjson import NdjsonPublisher
from inference_service.publishers.spool import Spool
from infra.local.process import wait_until
from tests.support.event_publisher_suite import EventPublisherSuite, Stage

pytestmark = pytest.mark.requirement("V4")


class FakeEventTransport:
    """A broker in a list, which a test may make unreachable, slow to answer, or reject events."""

    where = "the fake"

    def __init__(self) -> None:
        self.stored: list[tuple[bytes, bytes]] = []
        self.away = self.holding = self.closed = False
        self.refuses: bytes | None = None
        self.held: list[Callable[[str | None], None]] = []

    def send(self, key: bytes, value: bytes, done: Callable[[str | None], None]) -> None:
        if self.away:
            raise AwayError("no route")
        if value == self.refuses:
            raise RefusedError("not allowed")
        self.stored.append((key, value))
        if self.holding:
            self.held.append(done)
        else:
            done(None)

    def answer(self) -> None:
        """Give the answers that were held back."""
        self.holding = False
        while self.held:
            self.held.pop(0)(None)

    def close(self) -> None:
        self.closed = True

    @property
    def values(self) -> list[bytes]:
        return [value for _, value in self.stored]


class TestMemoryPublisher(EventPublisherSuite):
    @pytest.fixture
    def stage(self) -> Stage:
        memory = MemoryEventPublisher()
        return Stage(memory, lambda _: [*memory.messages])


class TestNdjsonPublisher(EventPublisherSuite):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> Stage:
        path = tmp_path / "deep" / "events.ndjson"
        lines = path.read_bytes
        return Stage(NdjsonPublisher(path), lambda _: [(None, v) for v in lines().splitlines()])


class TestBufferedPublisher(EventPublisherSuite):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> Stage:
        transport = FakeEventTransport()
        publisher = BufferedPublisher(transport, Spool(tmp_path, "s", 10), buffer_events=5)
        return Stage(publisher, lambda _: [*transport.stored])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference_service.publishers.buffered.RETRY_SECONDS", 0.01)


@pytest.fixture
def transport() -> FakeEventTransport:
    return FakeEventTransport()


@pytest.fixture
def opened(
    tmp_path: Path, transport: FakeEventTransport
) -> Iterator[Callable[..., BufferedPublisher]]:
    """Publishers to the transport, in turn, on one spool of 20 and with a memory of 5."""
    made: list[BufferedPublisher] = []

    def make(
        to: FakeEventTransport = transport, spool: int = 20, **options: object
    ) -> BufferedPublisher:
        publisher = BufferedPublisher(
            to,
            Spool(tmp_path / "spool", "s", spool),
            buffer_events=5,
            close_seconds=0.05,
            **options,
        )
        made.append(publisher)
        return publisher

    yield make
    for one in made:
        if not one._closed:
            transport.away = True
            try:
                one.close()
            except PublishError:
                continue


def publish(publisher: BufferedPublisher, *numbers: int) -> None:
    for number in numbers:
        publisher.publish(b"k", b"%d" % number)


def numbers(transport: FakeEventTransport) -> list[int]:
    return [int(value) for value in transport.values]


def test_while_the_broker_is_away_memory_fills_then_the_disk(
    opened: Callable[..., BufferedPublisher], transport: FakeEventTransport
) -> None:
    transport.away = True
    publisher = opened()
    publish(publisher, *range(12))
    counts = publisher.counts
    assert (counts.accepted, counts.spooled, counts.on_disk, counts.delivered) == (12, 7, 7, 0)
    assert wait_until(lambda: publisher.counts.errors > 1, 5)


def test_when_the_broker_is_back_everything_leaves_in_order(
    opened: Callable[..., BufferedPublisher], transport: FakeEventTransport, tmp_path: Path
) -> None:
    transport.away = True
    publisher = opened()
    publish(publisher, *range(12))
    transport.away = False
    publish(publisher, *range(12, 15))
    publisher.flush()
    assert numbers(transport) == list(range(15))
    publish(publisher, 15)
    publisher.close()
    assert numbers(transport) == list(range(16))
    assert publisher.counts.on_disk == 0
    assert not list((tmp_path / "spool").glob("*.db"))


def test_what_was_not_acknowledged_is_reported_kept_and_sent_first_by_the_next_process(
    opened: Callable[..., BufferedPublisher], transport: FakeEventTransport
) -> None:
    transport.away = True
    first = opened()
    publish(first, *range(8))
    with pytest.raises(PublishError, match=r"^8 of 8 events were not ack.* 8 wait in .*next start"):
        first.close()
    again = FakeEventTransport()
    again.away = True
    second = opened(again)
    publish(second, 8, 9)
    again.away = False
    second.close()
    assert numbers(again) == list(range(10))
    assert second.delivered == 10


def test_what_the_broker_took_but_did_not_acknowledge_is_sent_again(
    opened: Callable[..., BufferedPublisher], transport: FakeEventTransport
) -> None:
    transport.holding = True
    first = opened()
    publish(first, *range(7))
    assert wait_until(lambda: len(transport.held) == 5, 5)
    transport.held.pop(0)(None)
    with pytest.raises(PublishError, match="of 7 events"):
        first.close()
    again = FakeEventTransport()
    opened(again).close()
    assert numbers(again) == list(range(1, 7))


def test_a_killed_process_leaves_what_was_on_disk(
    opened: Callable[..., BufferedPublisher], tmp_path: Path, transport: FakeEventTransport
) -> None:
    spool = Spool(tmp_path / "spool", "s", 20)
    for number in range(3):
        spool.append(b"k", b"%d" % number)
    spool._lock.close()  # what the system does for a dead process
    opened().close()
    assert numbers(transport) == [0, 1, 2]


def test_publishing_waits_while_memory_and_disk_are_full(
    opened: Callable[..., BufferedPublisher], transport: FakeEventTransport
) -> None:
    transport.away = True
    publisher = opened(spool=3)
    publish(publisher, *range(8))
    late = threading.Thread(target=publish, args=(publisher, 8))
    late.start()
    assert wait_until(lambda: publisher.counts.waits == 1, 5)
    assert publisher.counts.accepted == 8
    transport.away = False
    late.join(5)
    publisher.close()
    assert numbers(transport) == list(range(9))


def fill_disk(publisher: BufferedPublisher, is_full: bool = True) -> None:
    """From here on the spool's disk takes no change, or takes them again."""
    publisher._spool._db.execute(f"PRAGMA query_only = {int(is_full)}")


def test_publishing_waits_while_the_disk_of_the_spool_is_full(
    opened: Callable[..., BufferedPublisher], transport: FakeEventTransport
) -> None:
    transport.away = True
    publisher = opened()
    publish(publisher, *range(8))
    fill_disk(publisher)
    late = threading.Thread(target=publish, args=(publisher, 8))
    late.start()
    assert wait_until(lambda: publisher.counts.waits == 1, 5)
    fill_disk(publisher, is_full=False)
    late.join(5)
    transport.away = False
    publisher.close()
    assert numbers(transport) == list(range(9))


def test_acknowledged_events_leave_the_disk_once_it_has_room_again(
    opened: Callable[..., BufferedPublisher], transport: FakeEventTransport
) -> None:
    transport.away = True
    publisher = opened()
    publish(publisher, *range(12))
    fill_disk(publisher)
    transport.away = False
    assert wait_until(lambda: publisher.delivered == 12, 5)
    assert publisher.counts.on_disk == 7
    fill_disk(publisher, is_full=False)
    publish(publisher, 12)
    publisher.close()
    assert numbers(transport) == list(range(13))
    assert publisher.counts.on_disk == 0


def test_events_in_memory_that_a_full_disk_cannot_keep_are_counted_as_lost(
    opened: Callable[..., BufferedPublisher], transport: FakeEventTransport
) -> None:
    transport.away = True
    publisher = opened()
    publish(publisher, *range(8))
    fill_disk(publisher)
    with pytest.raises(PublishError, match=r"3 wait .*next start\. 5 are lost: The spool .*s\.db"):
        publisher.close()


def test_a_publisher_that_waits_for_room_can_be_stopped(
    opened: Callable[..., BufferedPublisher], transport: FakeEventTransport
) -> None:
    transport.away = True
    stopping = threading.Event()
    publisher = opened(spool=0, stopping=stopping)
    publish(publisher, *range(5))
    stopping.set()
    with pytest.raises(PublishError, match=r"spool for the fake was full: one event is lost"):
        publish(publisher, 5)


def test_an_event_that_is_refused_stops_the_publisher_loudly(
    opened: Callable[..., BufferedPublisher], transport: FakeEventTransport
) -> None:
    transport.refuses = b"1"
    publisher = opened()
    publish(publisher, 0, 1)
    with pytest.raises(PublishError, match=r"refused events: not allowed \(1 of 2 ack"):
        publisher.flush()
    with pytest.raises(PublishError, match="refused events"):
        publish(publisher, 2)
    with pytest.raises(PublishError, match="1 wait in"):
        publisher.close()


def test_an_event_that_no_broker_would_take_is_refused_at_once(
    opened: Callable[..., BufferedPublisher],
) -> None:
    publisher = opened()
    with pytest.raises(PublishError, match="took no event: 2000000 bytes"):
        publisher.publish(b"k", b"x" * 2_000_000)
    publisher.close()
    assert publisher.counts.accepted == 0


def test_two_processes_do_not_share_a_spool_and_the_next_one_takes_over_both(
    tmp_path: Path,
) -> None:
    first, second = Spool(tmp_path, "s", 10), Spool(tmp_path, "s", 10)
    assert first.path != second.path
    first.append(b"k", b"1")
    second.append(b"k", b"2")
    first.close()
    second.close()
    third = Spool(tmp_path, "s", 10)
    assert sorted(row.value for row in third.after(None, 10)) == [b"1", b"2"]
    third.close()
    assert len(Spool(tmp_path, "s", 10)) == 2


@pytest.mark.parametrize("left_by", ["kafka-B01-entrance", "kafka-hall.1+hall.2"])
def test_what_a_process_with_other_cameras_left_behind_is_sent_too(
    tmp_path: Path, left_by: str
) -> None:
    first = Spool(tmp_path, left_by, 10)
    first.append(b"k", b"1")
    first.close()
    second = Spool(tmp_path, "kafka", 10)
    assert [row.value for row in second.after(None, 10)] == [b"1"]
    second.close()
    assert [file.name for file in tmp_path.glob("*.db")] == ["kafka.db"]


@pytest.mark.parametrize(
    ("broker", "options", "sentence"),
    [
        (
            "kafka",
            {"bootstrap_servers": "127.0.0.1:1", "client_options": {"linger": "5"}},
            'No such configuration property: "linger".*STORELAKE_KAFKA__CLIENT_OPTIONS',
        ),
        (
            "pulsar",
            {"service_url": "pulsar://127.0.0.1:port", "admin_url": "http://127.0.0.1:1"},
            "STORELAKE_PULSAR__SERVICE_URL is no address: invalid hostname",
        ),
    ],
)
def test_a_client_that_cannot_be_opened_names_its_setting(
    broker: str, options: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    settings = Settings.model_validate({"var_dir": tmp_path, broker: options})
    with pytest.raises(SettingsError, match=sentence):
        open_publisher(settings, broker)


def test_a_damaged_file_of_another_process_is_named_and_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "s-2.db").write_bytes(b"this is no database, but long enough to be read as one")
    spool = Spool(tmp_path, "s", 10)
    spool.append(b"k", b"1")
    assert "s-2.db cannot be read, its events are not sent" in caplog.text
    assert (tmp_path / "s-2.db").exists()


def test_a_spool_that_is_not_one_is_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"this is no database, but it is long enough to be read as one")
    with pytest.raises(PublishError, match=r"spool .*s cannot be used: file is not a database"):
        Spool(tmp_path, "s", 10)


def test_a_line_cut_by_a_crash_is_not_glued_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b'{"n":1}\n{"n":')
    publisher = NdjsonPublisher(path)
    publisher.publish(b"k", b'{"n":3}')
    publisher.close()
    assert path.read_bytes().splitlines() == [b'{"n":1}', b'{"n":', b'{"n":3}']


def test_a_file_that_cannot_be_written_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="cannot be written"):
        NdjsonPublisher(tmp_path)


def test_a_full_disk_is_one_sentence_with_the_number_of_events() -> None:
    publisher = NdjsonPublisher(Path("/dev/full"))
    publisher.publish(b"k", b"{}")
    with pytest.raises(PublishError, match=r"^Up to 1 events were not written to /dev/full: No sp"):
        publisher.close()
    publisher.close()


def test_ndjson_without_a_file_is_refused() -> None:
    with pytest.raises(SettingsError, match="--out"):
        open_publisher(Settings(), "ndjson")


def test_an_unknown_publisher_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="known: kafka, pulsar, ndjson"):
        open_publisher(Settings(), "telegraph")


@pytest.mark.parametrize("broker", ["kafka", "pulsar"])
def test_a_broker_that_is_not_there_is_named_and_events_are_kept(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_service.publishers.pulsar.CONNECT_SECONDS", 1)
    settings = Settings(
        var_dir=tmp_path,
        kafka={"bootstrap_servers": "127.0.0.1:1"},
        pulsar={"service_url": "pulsar://127.0.0.1:1", "admin_url": "http://127.0.0.1:1"},
    )
    publisher = open_publisher(settings, broker)
    assert isinstance(publisher, BufferedPublisher)
    publisher._close_seconds = 0.2
    publisher.publish(b"k", b"{}")
    match = (
        rf"^1 of 1 events were not acknowledged by {broker.title()} at .*127\.0\.0\.1:1.* 1 wait"
    )
    with pytest.raises(PublishError, match=match):
        publisher.close()
    assert len(Spool(settings.spool, broker, 10)) == 1
