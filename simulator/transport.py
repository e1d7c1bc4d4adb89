"""Transports of events: through the gateway, as tills send, and straight to Kafka."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import httpx
from confluent_kafka import KafkaException, Producer

from conf.contracts.order_event import event_path
from conf.contracts.topics import event_topics
from conf.errors import StorelakeError
from conf.kafka import KEY_PARTITIONER, open_client, producer_config
from conf.settings import KafkaSettings, Principal, Settings
from simulator.ledger import Delivery
from simulator.orders import SimulatedOrderEvent

BACKOFF_BASE, BACKOFF_MAX = 0.1, 2.0
CONNECT_SECONDS = 5.0
KAFKA_PORT = 9092  # of librdkafka, where an address has none


def require_targets(settings: Settings, via: str, *, straight: bool) -> None:
    """Make sure that something listens, before the first event: later outages are waited for.

    Args:
        settings: with the addresses.
        via: `gateway` or `kafka`.
        straight: whether some events go to Kafka past the gateway.

    Raises:
        StorelakeError: nothing listens, or a host is not known.
    """
    if via == "gateway":
        _require_gateway(settings)
    if via == "kafka" or straight:
        _require_kafka(settings.kafka)


def _require_gateway(settings: Settings) -> None:
    host, port = settings.gateway.host, settings.gateway.port
    if reason := _connect_error(host, port):
        raise StorelakeError(
            f"No gateway listens at {host}:{port} ({reason}): start it with `storelake up` or "
            "`storelake start gateway`, or send past it with --via kafka."
        )


def _require_kafka(kafka: KafkaSettings) -> None:
    places = [urlsplit(f"//{one.split('://')[-1].strip()}") for one in kafka.bootstrap.split(",")]
    errors = [_connect_error(one.hostname or "", one.port or KAFKA_PORT) for one in places]
    if all(errors):
        raise StorelakeError(
            f"Kafka does not listen at {kafka.bootstrap} ({errors[0]}): start it with "
            "`storelake up`, or set STORELAKE_KAFKA__BOOTSTRAP_SERVERS."
        )


def _connect_error(host: str, port: int) -> str:
    """Why no connection can be opened; empty where one can."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


class GatewayTransport:
    """Keep-alive HTTP. Guarantee: at least once; a repeat has the same bytes and event id.

    A rejection for good (4xx) is final; an unavailable broker or gateway is tried again, with
    growing pauses, for at most `patience` seconds or until `stop`.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        url: str | None,
        connections: int,
        patience: float,
        stop: Event,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._topics = event_topics(settings.kafka)
        self._patience = patience
        self._stop = stop
        self._client = httpx.AsyncClient(
            base_url=url or settings.gateway.url,
            headers={"content-type": "application/json", **settings.gateway.authorization},
            timeout=settings.gateway.ack_timeout_seconds + 5,
            limits=httpx.Limits(max_connections=connections),
            transport=transport,
            trust_env=False,  # a proxy of the environment has no business between till and gateway
        )

    async def deliver(self, event: SimulatedOrderEvent) -> Delivery:
        """Send one event, and repeat it as long as that makes sense."""
        topic, body = self._topics[event.event_type], event.value
        path = f"/api/kafka/events/{event_path(event.event_type)}"
        deadline = asyncio.get_running_loop().time() + self._patience
        retries = 0
        while True:
            try:
                response = await self._client.post(path, content=body)
            except httpx.TransportError as error:
                detail, pause = type(error).__name__, 0.0
            else:
                if response.status_code in (200, 202):  # 200: it has the event already
                    at = response.json()
                    return Delivery("accepted", topic, at["partition"], at["offset"], retries)
                detail = f"HTTP {response.status_code}"
                if response.status_code < 500 and response.status_code != 429:
                    return Delivery("rejected", topic, retries=retries, detail=detail)
                after = response.headers.get("retry-after", "")
                pause = float(after) if after.isdecimal() else 0.0  # it may be a date
            pause = max(min(BACKOFF_BASE * 2 ** min(retries, 10), BACKOFF_MAX), pause)
            if self._stop.is_set() or asyncio.get_running_loop().time() + pause > deadline:
                return Delivery("failed", topic, retries=retries, detail=detail)
            await asyncio.sleep(pause)
            retries += 1

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class KafkaTransport:
    """Bytes straight to a topic. Delivery reports come back while `poll` or `drain` run.

    Args:
        kafka: the cluster.
        patience: seconds after which a message that was not acknowledged has failed.
        principal: operator, who writes orders, or cameras.
    """

    def __init__(
        self, kafka: KafkaSettings, patience: float, principal: Principal = "operator"
    ) -> None:
        own = {**KEY_PARTITIONER, "client.id": "storelake-simulator"}
        config = producer_config(kafka, principal, own, message_timeout_ms=int(patience * 1000))
        self._patience = patience
        self._producer = open_client(
            Producer, config, logger=logging.getLogger("simulator.librdkafka")
        )

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        done: Callable[[Delivery], None],
        *,
        at: datetime | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Queue one message, sent now or as if at `at`; `done` gets the outcome."""

        def report(error: Any, message: Any) -> None:
            if error is None:
                done(Delivery("accepted", topic, message.partition(), message.offset()))
            else:
                done(Delivery("failed", topic, detail=error.name()))

        def offered() -> bool:
            sent = 0 if at is None else int(at.timestamp() * 1000)  # 0: now
            try:
                self._producer.produce(
                    topic, value, key, on_delivery=report, timestamp=sent, headers=[*headers]
                )
            except BufferError:
                return False
            return True

        try:
            while not offered():
                self._producer.poll(0)  # full: reports make room
                await asyncio.sleep(0.01)
        except KafkaException as error:
            done(Delivery("failed", topic, detail=error.args[0].name()))

    def poll(self) -> None:
        """Take the reports that have come in."""
        self._producer.poll(0)

    async def drain(self) -> None:
        """Wait for all reports; each comes within the patience, as a failure if need be."""
        while self._producer.flush(0.01) > 0:
            await asyncio.sleep(0.01)
