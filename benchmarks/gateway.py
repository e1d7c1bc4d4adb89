"""Events a second through the gateway: `python -m benchmarks.gateway --seconds 15`.

Real baskets through `storelake gateway` as a process of its own, into a real Kafka with acks=all:
first one event a request over 32 kept-alive connections, then batches of 500 events over 4. Latency
is that of a request, as its client sees it. Requests are made before the clock starts, and a client
speaks HTTP over bare sockets, so that it takes little of the machine; `cores` states how much each
process kept busy. At the end the topic must have grown by exactly the events that were accepted.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Annotated, Any
from uuid import uuid4

import numpy as np
import psutil
import typer

from benchmarks import Out, fresh, notify, print_result
from conf.settings import Settings
from conf.stores import load_stores
from infra.local.kafka import KafkaService
from quality.order_observer import end_offsets
from simulator.baskets import read_baskets
from simulator.orders import Shop
from verification.deployment import Deployment
from verification.processes import ProcessError, cpu_seconds

ROUTE = "/api/kafka/events/generic"
CONNECTIONS, BATCH_CONNECTIONS, BATCH = 32, 4, 500
WARM_UP_SHARE = 0.2  # of the time; it is not counted


@dataclass
class Round:
    """What the clients of one measurement saw; `seconds` and `statuses` after the warm-up.

    Attributes:
        accepted: events, the warm-up included: the topic must have them all.
    """

    begin: float
    end: float
    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    accepted: int = 0

    async def send(self, settings: Settings, requests: Iterator[tuple[bytes, int]]) -> None:
        """One kept-alive connection, one request at a time, as long as there are any."""
        gateway = settings.gateway
        reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
        while (now := time.monotonic()) < self.end and (request := next(requests, None)):
            body, events = request
            writer.write(body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.split(b"content-length:")[1].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            status, answered = int(head[9:12]), time.monotonic()
            self.accepted += events if status == 202 else 0
            if answered >= self.begin:
                self.statuses[status] += 1
                self.seconds.append(answered - now)
        writer.close()


def make_events(settings: Settings, count: int) -> list[bytes]:
    """The first events of a shop, as its tills would send them."""
    branches = load_stores(settings.stores_file).branches
    shop = Shop(
        read_baskets(start=1),
        [(branch.branch_id, branch.currency) for branch in branches],
        seed=1,
        run_id=uuid4().hex[:8],
        clock=lambda: datetime.now(timezone.utc),
        life_seconds=count / 1000 / 4,  # most orders live their whole life among these events
    )
    return [shop.next_event(number / 1000, None).value for number in range(count)]


def make_request(settings: Settings, path: str, body: bytes) -> bytes:
    """A whole request, head and body."""
    key = "".join(f"{name}: {value}\r\n" for name, value in settings.gateway.authorization.items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
        f"{key}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def play(
    settings: Settings, requests: list[tuple[bytes, int]], connections: int, seconds: float
) -> tuple[Round, float]:
    """Send until the time is over or nothing is left; returns what was seen, and for how long."""
    queue, started = iter(requests), time.monotonic()
    seen = Round(started + WARM_UP_SHARE * seconds, started + seconds)
    await asyncio.gather(*(seen.send(settings, queue) for _ in range(connections)))
    return seen, time.monotonic() - seen.begin


def measure_round(
    settings: Settings,
    watched: dict[str, psutil.Process],
    requests: list[tuple[bytes, int]],
    connections: int,
    seconds: float,
) -> dict[str, Any]:
    """One measurement on a running gateway."""
    events_each = requests[0][1]
    topic = (settings.kafka.order_events,)
    before, busy = sum(end_offsets(settings, topic).values()), _busy(watched)
    begun = time.monotonic()
    seen, took = asyncio.run(play(settings, requests, connections, seconds))
    elapsed, after = time.monotonic() - begun, _busy(watched)
    p50, p95, p99 = np.percentile(seen.seconds, [50, 95, 99])
    return {
        "connections": connections,
        "events_a_request": events_each,
        "events_a_second": round(seen.statuses[202] * events_each / took),
        "seconds": round(took, 1),
        "statuses": {str(status): count for status, count in seen.statuses.items()},
        "request_ms": {
            "p50": round(p50 * 1000, 1),
            "p95": round(p95 * 1000, 1),
            "p99": round(p99 * 1000, 1),
        },
        "cores": {name: round((after[name] - busy[name]) / elapsed, 2) for name in busy},
        "accepted": seen.accepted,
        "in_kafka": sum(end_offsets(settings, topic).values()) - before,
    }


def _busy(watched: dict[str, psutil.Process]) -> dict[str, float]:
    return {name: cpu_seconds(one.pid)["driver"] for name, one in watched.items()}


def measure(deployment: Deployment, seconds: float) -> dict[str, Any]:
    """Both measurements on running services."""
    settings = deployment.settings
    notify("making events")
    events = make_events(settings, int(seconds * 25_000))
    singles_count = min(int(seconds * 3_000), len(events) // 4)
    singles = [(make_request(settings, ROUTE, event), 1) for event in events[:singles_count]]
    rest = events[singles_count:]
    batches = [
        (
            make_request(settings, f"{ROUTE}/batch", b"[" + b",".join(rest[n : n + BATCH]) + b"]"),
            BATCH,
        )
        for n in range(0, len(rest) - BATCH + 1, BATCH)
    ]
    with deployment.run_gateway() as gateway:
        broker = KafkaService(settings).daemon.find()
        if broker is None:
            raise ProcessError("the broker is not one of this machine")
        watched = {
            "gateway": psutil.Process(gateway.pid),
            "broker": broker,
            "client": psutil.Process(),
        }
        notify("one event a request")
        one = measure_round(settings, watched, singles, CONNECTIONS, seconds)
        notify("batches")
        many = measure_round(settings, watched, batches, BATCH_CONNECTIONS, seconds)
        memory = watched["gateway"].memory_info().rss
    return {
        "bytes_an_event": round(sum(map(len, events)) / len(events)),
        "single": one,
        "batched": many,
        "gateway_mib": memory // 2**20,
    }


def main(
    seconds: Annotated[float, typer.Option(min=2)] = 15,
    out: Out = None,
) -> None:
    """Measure once, in a fresh deployment, and print the JSON."""
    with fresh() as deployment:
        found = measure(deployment, seconds)
    print_result(found, out)


if __name__ == "__main__":
    typer.run(main)
