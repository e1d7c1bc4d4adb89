"""The gateway with a real broker: bytes kept, acknowledgements awaited, outages survived."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import psutil
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from pydantic import SecretStr

from conf.gateway_keys import new_key
from conf.settings import KafkaSettings, Settings
from gateway.app import create_app
from gateway.kafka import KafkaPublisher
from infra.local.kafka import KafkaService
from infra.local.passwords import with_local_key
from infra.local.process import wait_until
from infra.local.provision import ensure_topics
from infra.postgres.gateway_keys import revoke_key
from simulator.send import send
from tests.conftest import free_ports
from tests.support.builders import as_json, order_event
from tests.support.gateway_keys import TILL, MemoryKeys, bearer
from tests.support.publisher_suite import PublisherSuite, Seen, Stage

pytestmark = pytest.mark.requirement("O1")

CREATED = "/api/kafka/events/order-created"


def read_topic(kafka: KafkaSettings, topic: str) -> dict[tuple[int, int], Seen]:
    """Everything on a topic now, by (partition, offset)."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": str(uuid.uuid4())})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
            for number in partitions
        }
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        found: dict[tuple[int, int], Seen] = {}
        while len(found) < sum(ends.values()):
            message = consumer.poll(10)
            assert message is not None, f"{len(found)} of {sum(ends.values())} messages in 10 s"
            assert message.error() is None
            headers = dict(message.headers() or [])
            found[message.partition(), message.offset()] = (
                message.key(),
                message.value(),
                headers,
            )
        return found
    finally:
        consumer.close()


class TestKafkaPublisher(PublisherSuite):
    """The same suite as the publisher in memory."""

    @pytest.fixture
    def stage(self, services: Settings) -> Iterator[Stage]:
        kafka = services.kafka
        topic = f"publisher-{uuid.uuid4().hex[:8]}"
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        admin.create_topics([NewTopic(topic, 1, 1)], operation_timeout=20)[topic].result(30)
        publisher = KafkaPublisher(kafka, ack_timeout=10)
        broker = KafkaService(services).daemon.find()
        assert broker is not None

        async def read(name: str) -> list[Seen]:
            return list(read_topic(kafka, name).values())

        def cut() -> None:
            publisher._ack_timeout = 0.5
            broker.suspend()

        yield Stage(publisher, topic, read, cut)
        broker.resume()
        asyncio.run(publisher.close())
        admin.delete_topics([topic], operation_timeout=20)[topic].result(30)


@pytest.fixture
def gateway(
    environment: Mapping[str, str], services: Settings
) -> Iterator[tuple[Settings, subprocess.Popen[bytes]]]:
    """The gateway as `storelake gateway` serves it."""
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "gateway"],
        cwd=Path(__file__).parents[2],
        env=dict(environment),
        stderr=subprocess.DEVNULL,
    ) as process:
        url = f"http://{services.gateway.host}:{services.gateway.port}"
        assert wait_until(lambda: answers(f"{url}/ready") == 200 or process.poll() is not None, 60)
        yield services, process
        process.kill()


def answers(url: str) -> int | None:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code
    except httpx.TransportError:
        return None


def test_what_the_shop_sends_is_in_kafka_as_the_ledger_reports(
    gateway: tuple[Settings, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    settings, process = gateway
    report = send(settings, count=150, poison=0.2, ledger=tmp_path / "sent.ndjson")

    assert report.sent == report.accepted + report.poisoned == 150
    assert report.poisoned > 5
    topics = {topic: read_topic(settings.kafka, topic) for topic in settings.kafka.order_topics}
    for line in map(json.loads, (tmp_path / "sent.ndjson").read_text().splitlines()):
        key, value, headers = topics[line["topic"]][line["partition"], line["offset"]]
        if line["outcome"] == "accepted":
            assert key == line["order_id"].encode()
            assert json.loads(value)["event_id"] == line["event_id"]
            assert headers.keys() == {"content-type", "traceparent"}
            assert headers["content-type"] == b"application/json"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def test_key_and_bytes_reach_kafka_untouched(
    gateway: tuple[Settings, subprocess.Popen[bytes]],
) -> None:
    settings, _ = gateway
    url = f"http://{settings.gateway.host}:{settings.gateway.port}{CREATED}"
    event = order_event(order_id=f"O-{uuid.uuid4()}", extra={"note": "größer", "n": [1, None]})
    body = json.dumps(event, indent=1, ensure_ascii=False).encode() + b"\n"

    at = httpx.post(
        url, content=body, headers=settings.gateway.authorization, trust_env=False
    ).json()

    key, value, _ = read_topic(settings.kafka, at["topic"])[at["partition"], at["offset"]]
    assert (key, value) == (event["order"]["order_id"].encode(), body)


def test_a_batch_is_in_kafka_once_and_in_order_however_often_it_is_sent(
    gateway: tuple[Settings, subprocess.Popen[bytes]],
) -> None:
    settings, _ = gateway
    url = f"http://{settings.gateway.host}:{settings.gateway.port}{CREATED}/batch"
    orders = [f"O-{uuid.uuid4()}" for _ in range(5)]
    keys = {order.encode() for order in orders}  # other tests send here too, even without a key
    events = [as_json(order_event(order_id=orders[n % 5], extra={"n": n})) for n in range(500)]
    body = b"[" + b", ".join(events) + b"]"

    with httpx.Client(
        headers=settings.gateway.authorization, trust_env=False, timeout=30
    ) as client:
        first, second = client.post(url, content=body), client.post(url, content=body)

    assert [first.status_code, second.status_code] == [202, 202]
    results = first.json()["results"]
    assert {result["status"] for result in results} == {202}
    assert {result["status"] for result in second.json()["results"]} == {200}
    topic = read_topic(settings.kafka, "order-created")
    found = [topic[result["partition"], result["offset"]] for result in results]
    assert [value for _, value, _ in found] == events
    ours = [(at, value) for at, (key, value, _) in topic.items() if key in keys]
    assert len(ours) == len(events)
    for order in orders:  # the offsets of one order rise as its events did
        kept = [at for at, (key, _, _) in sorted(topic.items()) if key == order.encode()]
        sent = [
            (result["partition"], result["offset"])
            for result, (key, _, _) in zip(results, found, strict=True)
            if key == order.encode()
        ]
        assert kept == sent


def test_keys_are_made_revoked_and_rotated_while_the_gateway_runs(
    gateway: tuple[Settings, subprocess.Popen[bytes]], environment: Mapping[str, str]
) -> None:
    settings, _ = gateway
    url = f"http://{settings.gateway.host}:{settings.gateway.port}{CREATED}"
    storelake = [sys.executable, "-m", "cli.main", "keys"]

    def keys(*arguments: str) -> str:
        command = [*storelake, *arguments]
        done = subprocess.run(command, env=dict(environment), capture_output=True, check=True)
        assert b"slk_" not in done.stderr
        return done.stdout.decode().strip()

    def post(key: str, branch: str = "B01") -> int:
        body = as_json(order_event(order_id=f"O-{uuid.uuid4()}", branch_id=branch))
        headers = {"X-Api-Key": key}
        return httpx.post(url, content=body, headers=headers, trust_env=False).status_code

    first = keys("create", "--branch", "B01", "--scope", "orders:write", "--expires", "1h")
    key_id = first.split("_")[1]
    assert [post(first), post(first, "B02")] == [202, 403]
    second = keys("rotate", key_id, "--overlap", "1h")
    assert [post(second), post(first)] == [202, 202]
    third = keys("rotate", key_id, "--overlap", "0s")
    assert post(third) == 202
    assert wait_until(lambda: post(second) == 401, 2 * settings.gateway.key_cache_seconds)
    assert post(first) == 401
    keys("revoke", key_id)
    assert wait_until(lambda: post(third) == 401, 2 * settings.gateway.key_cache_seconds)
    listed = {row["id"]: row for row in json.loads(keys("list", "--format", "json"))}
    assert (listed[key_id]["state"], listed[key_id]["branches"]) == ("revoked", ["B01"])
    assert {row["name"]: row["state"] for row in listed.values()}["local"] == "valid"
    header = f"Authorization: Bearer {settings.gateway.authorization['Authorization'][7:]}"
    assert keys("local") == header
    assert first not in keys("list")


def test_the_key_of_this_machine_is_made_once_and_again_after_it_was_revoked(
    services: Settings, tmp_path: Path
) -> None:
    gateway = services.gateway.model_copy(update={"key": None})
    machine = services.model_copy(update={"var_dir": tmp_path, "gateway": gateway})

    first, again = with_local_key(machine), with_local_key(machine)
    assert first.gateway.authorization == again.gateway.authorization
    revoke_key(services, first.gateway.authorization["Authorization"].split("_")[1])
    second = with_local_key(first)
    assert second.gateway.authorization != first.gateway.authorization
    assert with_local_key(machine).gateway.authorization == second.gateway.authorization
    own = {"gateway": gateway.model_copy(update={"key": SecretStr(new_key().text)})}
    assert with_local_key(machine.model_copy(update=own)).gateway == own["gateway"]
    assert machine.secrets_file.stat().st_mode & 0o777 == 0o600


def test_the_connection_test_queries_the_real_broker(
    gateway: tuple[Settings, subprocess.Popen[bytes]],
) -> None:
    settings, _ = gateway
    url = f"http://{settings.gateway.host}:{settings.gateway.port}/api/kafka/test-connection"
    for answer in (httpx.get(url, trust_env=False), httpx.post(url, trust_env=False)):
        assert answer.status_code == 200
        (broker,) = answer.json()["brokers"]
        assert broker["port"] == settings.kafka.port
        topics = {topic["name"]: topic["partitions"] for topic in answer.json()["topics"]}
        assert topics == dict.fromkeys(settings.kafka.order_topics, settings.kafka.partitions)
        assert 0 < answer.json()["round_trip_ms"] < 5000


def test_what_is_under_way_when_the_gateway_stops_gets_its_answer(
    gateway: tuple[Settings, subprocess.Popen[bytes]],
) -> None:
    settings, process = gateway
    broker = KafkaService(settings).daemon.find()
    assert broker is not None
    url = f"http://{settings.gateway.host}:{settings.gateway.port}"
    event = as_json(order_event())

    async def scenario() -> httpx.Response:
        async with httpx.AsyncClient(
            base_url=url,
            headers=settings.gateway.authorization,
            trust_env=False,
            timeout=30,
        ) as client:
            await client.post(CREATED, content=as_json(order_event()))  # connects the producer
            broker.suspend()
            try:
                answer = asyncio.ensure_future(client.post(CREATED, content=event))
                while metric(url, "storelake_gateway_requests_in_flight") < 2:
                    await asyncio.sleep(0)  # until it is in flight, beside that of the metrics
                process.send_signal(signal.SIGTERM)
            finally:
                broker.resume()
            return await answer

    answer = asyncio.run(scenario())
    assert answer.status_code == 202
    assert process.wait(timeout=30) == 0
    kept = read_topic(settings.kafka, "order-created")
    at = answer.json()
    assert kept[at["partition"], at["offset"]][1] == event


def metric(url: str, name: str) -> float:
    lines = httpx.get(f"{url}/metrics", trust_env=False).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@pytest.fixture
def own_broker(settings: Settings, tmp_path: Path) -> Iterator[tuple[Settings, KafkaService]]:
    """A broker of this test alone, which may stop it."""
    port, controller = free_ports(2)
    kafka = settings.kafka.model_copy(update={"port": port, "controller_port": controller})
    impatient = settings.gateway.model_copy(update={"ack_timeout_seconds": 2.0})
    own = settings.model_copy(update={"var_dir": tmp_path, "kafka": kafka, "gateway": impatient})
    service = KafkaService(own)
    service.start()
    assert wait_until(service.ready, 60)
    ensure_topics(kafka)
    yield own, service
    service.stop()


def test_a_stopped_broker_means_503_until_it_is_back(
    own_broker: tuple[Settings, KafkaService],
) -> None:
    settings, broker = own_broker
    publisher = KafkaPublisher(settings.kafka, settings.gateway.ack_timeout_seconds)
    transport = httpx.ASGITransport(create_app(settings, publisher, MemoryKeys()))

    def call(method: str, path: str, content: bytes | None = None) -> httpx.Response:
        async def once() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=transport, base_url="http://gateway", headers=bearer(TILL)
            ) as client:
                return await client.request(method, path, content=content)

        return asyncio.run(once())

    def send_one() -> httpx.Response:
        return call("POST", CREATED, as_json(order_event()))

    assert wait_until(lambda: send_one().status_code == 202, 30)

    broker.stop()
    refused = send_one()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
    assert call("GET", "/ready").status_code == 503
    assert call("GET", "/health").status_code == 200

    broker.start()
    assert wait_until(lambda: send_one().status_code == 202, 60)
    assert call("GET", "/ready").status_code == 200
    asyncio.run(publisher.close())


def test_a_broker_that_hangs_means_503_and_no_lost_answer(
    own_broker: tuple[Settings, KafkaService],
) -> None:
    settings, service = own_broker
    process = service.daemon.find()
    assert isinstance(process, psutil.Process)
    publisher = KafkaPublisher(settings.kafka, settings.gateway.ack_timeout_seconds)
    transport = httpx.ASGITransport(create_app(settings, publisher, MemoryKeys()))

    acknowledged: set[bytes] = set()

    async def scenario() -> set[int]:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://gateway", headers=bearer(TILL)
        ) as client:

            async def burst(tag: str) -> set[int]:
                keys = [f"{tag}-{number}" for number in range(30)]
                bodies = (as_json(order_event(order_id=key)) for key in keys)
                got = await asyncio.gather(*(client.post(CREATED, content=b) for b in bodies))
                pairs = list(zip(keys, got, strict=True))
                acknowledged.update(key.encode() for key, r in pairs if r.status_code == 202)
                return {response.status_code for response in got}

            async def burst_until_all_accepted(tag: str) -> None:
                number = 0
                while await burst(f"{tag}-{number}") != {202}:
                    number += 1

            await asyncio.wait_for(burst_until_all_accepted("before"), 30)
            process.suspend()
            try:
                hanging = await burst("hanging")
            finally:
                process.resume()
            await asyncio.wait_for(burst_until_all_accepted("after"), 30)
            return hanging

    hanging = asyncio.run(scenario())
    asyncio.run(publisher.close())

    assert hanging == {503}
    kept = {key for key, _, _ in read_topic(settings.kafka, settings.kafka.order_created).values()}
    assert acknowledged <= kept
