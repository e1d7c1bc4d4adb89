"""Repeated event ids and too many events: the memory of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest

from conf.settings import GatewaySettings, load_settings
from gateway.app import create_app
from gateway.limits import RateLimit
from gateway.producer import MemoryPublisher, Outcome, OutgoingMessage, Receipt
from gateway.recent import RecentIds
from gateway.rejections import ConflictError, TooManyError, UnavailableError
from tests.support.builders import as_json, event_id, order_event
from tests.support.clock import HandClock
from tests.support.gateway_keys import TILL, MemoryKeys, bearer

EVENTS = "/api/kafka/events"
CREATED = f"{EVENTS}/order-created"
Post = Callable[[str, bytes], Awaitable[httpx.Response]]


@dataclass
class SlowBroker(MemoryPublisher):
    """Acknowledges or rejects an event when the test sets its outcome."""

    outcomes: list[asyncio.Future[Outcome]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def send(self, message: OutgoingMessage) -> asyncio.Future[Outcome]:
        self.outcomes.append(asyncio.get_running_loop().create_future())
        return self.outcomes[-1]


def run(
    scenario: Callable[[Post], Awaitable[None]],
    broker: MemoryPublisher,
    gateway: GatewaySettings | None = None,
) -> None:
    app = create_app(load_settings(gateway=gateway or GatewaySettings()), broker, MemoryKeys())

    async def play() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=transport, base_url="http://gateway", headers=bearer(TILL)
            ) as client,
        ):
            await scenario(lambda path, content: client.post(path, content=content))

    asyncio.run(play())


def test_a_repeated_event_gets_the_first_answer_and_is_not_produced_again() -> None:
    broker = MemoryPublisher()
    body = as_json(order_event())

    async def scenario(post: Post) -> None:
        await post(CREATED, as_json(order_event()))
        first, second = await post(CREATED, body), await post(CREATED, b" " + body + b"\n")
        assert (first.status_code, second.status_code) == (202, 200)
        assert first.json() == second.json()

    run(scenario, broker)
    assert len(broker.messages["order-created"]) == 2


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b'"amount":2.5', b'"amount" : 2.50'),
        (b'"amount":3', b'"amount":3.0'),
        (b'"amount":250', b'"amount":25e1'),
        (b'"name":"\xc3\xa9"', b'"name":"\\u00e9"'),
        (b'"a":1,"b":{"c":[1,2],"d":null}', b'"b":{"d":null,"c":[1,2]},"a":1'),
    ],
    ids=["a zero more", "with a fraction", "with an exponent", "escaped", "other order of names"],
)
def test_an_event_that_was_only_serialised_again_is_a_repeat(first: bytes, again: bytes) -> None:
    body = as_json(order_event())

    async def scenario(post: Post) -> None:
        answers = [await post(CREATED, body[:-1] + b"," + extra + b"}") for extra in (first, again)]
        assert [answer.status_code for answer in answers] == [202, 200]

    run(scenario, MemoryPublisher())


@pytest.mark.parametrize("extra", [b'"a":[2,1]', b'"a":[1,2,3]', b'"a":["1",2]', b'"A":[1,2]'])
def test_a_repeat_that_differs_in_content_is_a_conflict(extra: bytes) -> None:
    body = as_json(order_event())[:-1]

    async def scenario(post: Post) -> None:
        answers = [await post(CREATED, body + b"," + e + b"}") for e in (b'"a":[1,2]', extra)]
        assert [answer.status_code for answer in answers] == [202, 409]

    run(scenario, MemoryPublisher())


def test_an_id_is_one_event_on_every_route_in_upper_and_lower_case() -> None:
    broker = MemoryPublisher()
    event = order_event()
    upper = event | {"event_id": event["event_id"].upper()}

    async def scenario(post: Post) -> None:
        await post(CREATED, as_json(event))
        elsewhere = await post(f"{EVENTS}/generic", as_json(event))
        assert (elsewhere.status_code, elsewhere.json()["topic"]) == (200, "order-created")
        assert (await post(CREATED, as_json(upper))).status_code == 409

    run(scenario, broker)
    assert list(broker.messages) == ["order-created"]


def test_other_content_under_a_known_id_is_a_conflict() -> None:
    broker = MemoryPublisher()

    async def scenario(post: Post) -> None:
        await post(CREATED, as_json(order_event(event_id=event_id("x"))))
        response = await post(CREATED, as_json(order_event(event_id=event_id("x"), order_id="O-2")))
        assert (response.status_code, response.json()["error"]) == (409, "event_id_conflict")

    run(scenario, broker)
    assert len(broker.messages["order-created"]) == 1


@pytest.mark.parametrize(
    ("outcome", "answers"),
    [
        (Receipt("order-created", 3, 7), {200, 202}),
        (UnavailableError("no acknowledgement in time"), {503}),
    ],
)
def test_a_repeat_waits_for_the_first_one_that_is_under_way(
    outcome: Outcome, answers: set[int]
) -> None:
    broker = SlowBroker()
    body = as_json(order_event())

    async def scenario(post: Post) -> None:
        both = [asyncio.ensure_future(post(CREATED, body)) for _ in range(2)]
        while not broker.outcomes:
            await asyncio.sleep(0)
        await post("/health", b"")  # another request is served meanwhile
        assert not any(answer.done() for answer in both)
        broker.outcomes[0].set_result(outcome)
        assert {(await answer).status_code for answer in both} == answers

    run(scenario, broker)
    assert len(broker.outcomes) == 1


def test_an_event_that_the_broker_refused_is_not_remembered() -> None:
    broker = MemoryPublisher(ack_timeout=0.01)
    body = as_json(order_event())

    async def scenario(post: Post) -> None:
        for fault in ("down", "stalled"):
            setattr(broker, fault, True)
            assert (await post(CREATED, body)).status_code == 503
            setattr(broker, fault, False)
        assert [(await post(CREATED, body)).status_code for _ in range(2)] == [202, 200]

    run(scenario, broker)


def test_the_memory_is_bounded_and_drops_the_oldest_first() -> None:
    async def scenario() -> None:
        recent = RecentIds(2)
        for number, name in enumerate("abc"):
            outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            outcome.set_result(Receipt("t", 0, number))
            recent.remember(name, b"content", outcome)
            recent.land(name, outcome, Receipt("t", 0, number))
        assert len(recent) == 2
        assert recent.find("a", b"content") is None
        assert recent.find("C", b"content") == Receipt("t", 0, 2)
        with pytest.raises(ConflictError):
            recent.find("b", b"other")

    asyncio.run(scenario())


def test_a_client_that_sends_too_much_gets_the_time_of_a_retry() -> None:
    broker = MemoryPublisher()
    slow = GatewaySettings(events_per_second=0.5, burst_events=3, max_batch_events=2)
    two = b"[" + as_json(order_event()) + b"," + as_json(order_event(order_id="O-2")) + b"]"

    async def scenario(post: Post) -> None:
        for _ in range(2):  # the second begins within the burst and passes whole
            assert (await post(f"{CREATED}/batch", two)).status_code == 202
        refused = await post(CREATED, as_json(order_event()))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "4")

    run(scenario, broker, slow)
    assert len(broker.messages["order-created"]) == 2  # and two repeats


@pytest.mark.parametrize("body", [b"[" + b" " * 4000, b"[" + b"[],[]," * 700 + b"[]]"])
def test_what_is_refused_is_charged_by_its_size(body: bytes) -> None:
    slow = GatewaySettings(events_per_second=0.1, burst_events=4, max_batch_events=500)

    async def scenario(post: Post) -> None:
        answers = [await post(f"{CREATED}/batch", body) for _ in range(3)]
        assert [answer.status_code for answer in answers][-1] == 429

    run(scenario, MemoryPublisher(), slow)


def test_the_bucket_fills_again_up_to_the_burst() -> None:
    clock = HandClock(0.0)
    limit = RateLimit(per_second=10, burst=20, clock=clock)
    limit.admit("till", 25)
    with pytest.raises(TooManyError) as refused:
        limit.admit("till", 1)
    assert refused.value.wait == pytest.approx(0.6)
    limit.admit("another till", 1)
    clock.now = 0.7
    limit.admit("till", 1)
    clock.now = 100
    limit.charge("till", 20)
    with pytest.raises(TooManyError):
        limit.admit("till", 1)
