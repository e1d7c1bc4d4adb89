"""Who may send through the gateway: keys, their branches and scopes, and the limits."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from conf.gateway_keys import KeyParts, new_key
from conf.settings import load_settings
from gateway.app import create_app
from gateway.keys import KeyRing
from gateway.producer import MemoryPublisher
from gateway.rejections import KeysUnavailableError, UnauthorizedError
from tests.support.builders import as_json, order_event, status_event
from tests.support.clock import HandClock
from tests.support.gateway_keys import TILL, MemoryKeys, bearer

EVENTS = "/api/kafka/events"
CREATED = f"{EVENTS}/order-created"


@pytest.fixture
def keys() -> MemoryKeys:
    return MemoryKeys()


class Gateway:
    """The gateway in this process, for clients at one address."""

    def __init__(self, broker: MemoryPublisher, keys: MemoryKeys, **settings: Any) -> None:
        self.app = create_app(load_settings(gateway=settings), broker, keys)

    def post(
        self,
        key: KeyParts | None,
        event: object = None,
        path: str = CREATED,
        address: str = "203.0.113.1",
        **headers: str,
    ) -> httpx.Response:
        given = (bearer(key) if key else {}) | headers
        sent = [(name.replace("_", "-").encode(), v.encode()) for name, v in given.items()]
        body = as_json(event or order_event())

        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                return await client.post(path, content=body, headers=sent)

        return asyncio.run(once())


@pytest.fixture
def gateway(broker: MemoryPublisher, keys: MemoryKeys) -> Gateway:
    return Gateway(broker, keys)


def test_without_a_valid_key_all_get_the_same_answer_and_nothing_is_sent(
    gateway: Gateway, broker: MemoryPublisher, keys: MemoryKeys
) -> None:
    expired = keys.add(life=timedelta(seconds=-1))
    wrong = new_key(TILL.id)
    answers = [
        gateway.post(None),
        gateway.post(expired),
        gateway.post(wrong),
        gateway.post(new_key()),
        gateway.post(None, Authorization="Basic dTpw"),
        gateway.post(None, Authorization=f"Bearer {TILL.text}x"),
        gateway.post(TILL, X_Api_Key=wrong.text),  # two keys: which of them is meant is unknown
        gateway.post(None, X_Api_Key="slk_\u00e9"),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["www-authenticate"] for answer in answers} == {
        'Bearer realm="storelake"'
    }
    assert len({answer.content for answer in answers}) == 1
    assert not any(broker.messages.values())


def test_a_key_is_in_either_header(gateway: Gateway) -> None:
    assert gateway.post(TILL).status_code == 202
    assert gateway.post(None, Authorization=f"bearer  {TILL.text}").status_code == 202
    assert gateway.post(None, X_Api_Key=TILL.text).status_code == 202


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("order-created", partial(order_event)),
        ("order-created", partial(order_event, schema_version=2)),
        ("order-created", partial(order_event, schema_version=3)),
        ("order-cancelled", partial(order_event, event_type="order.cancelled")),
        ("order-status-changed", partial(status_event)),
    ],
)
def test_a_key_of_one_branch_sends_nothing_of_another(
    gateway: Gateway, broker: MemoryPublisher, keys: MemoryKeys, path: str, event: Any
) -> None:
    key = keys.add(branches=["B01"])
    mine, theirs = event(branch_id="B01"), event(branch_id="B02")
    assert gateway.post(key, theirs, f"{EVENTS}/{path}").status_code == 403
    assert not any(broker.messages.values())
    answer = gateway.post(key, [theirs, mine], f"{EVENTS}/{path}/batch")
    assert answer.status_code == 207
    assert [result["status"] for result in answer.json()["results"]] == [403, 202]
    assert answer.json()["results"][0]["event_id"] == theirs["event_id"]


def test_a_key_without_the_scope_may_not_send(gateway: Gateway, keys: MemoryKeys) -> None:
    answer = gateway.post(keys.add(scopes=["orders:read"]))
    assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")


def test_the_key_is_asked_before_the_body_is_read(gateway: Gateway) -> None:
    async def body() -> Any:
        raise AssertionError("the body was read")
        yield b""

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(gateway.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.post(CREATED, content=body())

    assert asyncio.run(post()).status_code == 401


def test_both_secrets_of_a_key_that_is_rotated_are_valid(
    gateway: Gateway, keys: MemoryKeys
) -> None:
    new = new_key()
    old = new_key(new.id)
    keys.add(new, old)
    assert [gateway.post(key).status_code for key in (new, old)] == [202, 202]


def test_the_limit_is_per_key_and_holds_behind_a_proxy(
    broker: MemoryPublisher, keys: MemoryKeys
) -> None:
    gateway = Gateway(broker, keys, events_per_second=0.01, burst_events=2)
    other = keys.add()
    addresses = ("203.0.113.1", "203.0.113.2", "203.0.113.3")
    answers = [gateway.post(TILL, address=address).status_code for address in addresses]
    assert answers == [202, 202, 429]
    assert gateway.post(other).status_code == 202


def test_who_tries_keys_is_limited_by_address_and_the_holder_of_a_key_is_not(
    broker: MemoryPublisher, keys: MemoryKeys
) -> None:
    gateway = Gateway(
        broker, keys, unauthenticated_per_second=0.1, trusted_proxies=["198.51.100.0/24"]
    )
    proxy = "198.51.100.7"
    assert gateway.post(TILL, address="203.0.113.12").status_code == 202

    def tries(address: str, forwarded: str) -> int:
        return gateway.post(None, address=address, X_Forwarded_For=forwarded).status_code

    # A bucket of one: the second try of a client is refused, whatever it makes up.
    assert [tries("203.0.113.9", f"192.0.2.{n}") for n in (1, 2)] == [401, 429]
    assert [tries(proxy, f"192.0.2.{n}, 203.0.113.10") for n in (1, 2)] == [401, 429]
    assert [tries(proxy, f"nonsense {n}") for n in (1, 2)] == [401, 429]
    assert [tries(f"2001:db8::{n}", "") for n in (1, 2)] == [401, 429]
    assert tries(proxy, "203.0.113.10, 203.0.113.11, 198.51.100.8") == 401
    assert gateway.post(TILL, address="203.0.113.9").status_code == 202


def test_without_a_database_known_keys_go_on_for_a_time_and_unknown_ones_wait(
    keys: MemoryKeys,
) -> None:
    clock = HandClock(0.0)
    ring = KeyRing(keys, cache_seconds=5, outage_seconds=900, clock=clock)
    later = keys.add()

    async def scenario() -> None:
        del keys.keys[later.id]
        await ring.look_up(TILL)
        keys.down = True
        clock.now = 899
        assert ring.known(TILL)
        with pytest.raises(KeysUnavailableError):
            await ring.look_up(later)
        clock.now = 901
        assert ring.known(TILL) is None
        keys.down = False
        clock.now = 902
        assert await ring.look_up(TILL)

    asyncio.run(scenario())


def test_a_database_that_hangs_holds_nobody_up(
    keys: MemoryKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(asyncio, "timeout", raising=False)  # Python 3.10 has none
    monkeypatch.setattr("gateway.keys._READ_SECONDS", 0.01)
    ring = KeyRing(keys, cache_seconds=5, outage_seconds=900)

    async def hang() -> Any:
        await asyncio.Event().wait()

    async def scenario() -> None:
        await ring.refresh()
        monkeypatch.setattr(keys, "read", hang)
        tries = [ring.look_up(new_key()) for _ in range(20)]
        found = await asyncio.gather(*tries, return_exceptions=True)
        assert {type(one) for one in found} == {KeysUnavailableError}
        assert ring.known(TILL)

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_a_revoked_key_ends_within_the_time_of_the_cache(
    gateway: Gateway, keys: MemoryKeys
) -> None:
    ring = KeyRing(keys, cache_seconds=0.02, outage_seconds=900)

    async def scenario() -> None:
        await ring.look_up(TILL)
        reading = asyncio.create_task(ring.keep_fresh())
        del keys.keys[TILL.id]
        while ring.known(TILL):
            await asyncio.sleep(0)
        with pytest.raises(UnauthorizedError):
            await ring.look_up(TILL)
        reading.cancel()
        await ring.close()

    asyncio.run(asyncio.wait_for(scenario(), 10))
    assert keys.used.keys() == {TILL.id}


def test_many_unknown_keys_share_few_reads(keys: MemoryKeys) -> None:
    ring = KeyRing(keys, cache_seconds=5, outage_seconds=900)

    async def scenario() -> None:
        tries = [ring.look_up(new_key()) for _ in range(500)]
        found = await asyncio.gather(*tries, return_exceptions=True)
        assert {type(one) for one in found} == {UnauthorizedError}

    asyncio.run(scenario())
    assert keys.reads <= 2


def test_the_openapi_document_names_the_schemes_and_no_key(gateway: Gateway) -> None:
    document = gateway.app.openapi()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "api_key"}
    for path, methods in document["paths"].items():
        assert bool(methods.get("post", {}).get("security")) == path.startswith(EVENTS)
    assert TILL.secret not in str(document)
