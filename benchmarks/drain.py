"""Waiting orders into the sinks: `python -m benchmarks.drain --events 200000`.

The application is paused as soon as every query has found its topics empty, and continues when all
events wait in Kafka; time runs from then until each stream has written all of them. (A query is
reported as ready once its first micro-batch is committed, so a clock that begins there would miss
that batch.) Afterwards two plain consumers read the same messages (`benchmarks.floor`): one into
tables with one key each, one into the tables of the product.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Annotated
from uuid import UUID

import typer

from benchmarks import Out, fresh, paused, print_result
from benchmarks.floor import PLAIN, SAME_TABLES, consume, empty_tables
from conf.settings import Settings
from infra.local.streams import stream_states
from streaming.registry import STREAMS
from verification.backlog import fill_topic
from verification.deployment import Deployment
from verification.processes import cpu_seconds

WRITERS = ("order_event_processor", "bronze_order_events")
ORDER_STREAMS = tuple(stream.name for stream in STREAMS if stream.reads == "orders")
TRACKER = "order_status_tracker"
"""It has no row for a broken event."""
BROKEN_EVERY = 200
GIVE_UP_SECONDS = 900


def event(number: int, at: datetime, rng: random.Random) -> tuple[bytes, bytes]:
    """(key, value) of one valid `order.created` with one to three items."""
    order_id, stamp = f"D-{at.timestamp():.0f}-{number}", at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    quantities = [rng.randrange(1, 4) for _ in range(rng.randrange(1, 4))]
    items = [
        {
            "product_id": f"P-{rng.randrange(5000)}",
            "name": "Whole milk 1 l",
            "category": "DAIRY",
            "quantity": quantity,
            "unit_price": 1.25,
        }
        for quantity in quantities
    ]
    order = {
        "order_id": order_id,
        "customer_id": f"C-{rng.randrange(20000)}",
        "branch_id": rng.choice(("B01", "B02", "B03")),
        "status": "pending",
        "payment_method": "cash",
        "currency": "USD",
        "total_price": 5 * sum(quantities) / 4,
        "created_at": stamp,
        "items": items,
    }
    body = {
        "event_id": str(UUID(int=rng.getrandbits(128))),
        "event_type": "order.created",
        "event_time": stamp,
        "schema_version": 1,
        "source": "drain",
        "order": order,
    }
    return order_id.encode(), json.dumps(body).encode()


def fill(settings: Settings, count: int, seed: int) -> None:
    """Put events into the topic for created orders; one of `BROKEN_EVERY` is broken."""
    rng = random.Random(seed)  # noqa: S311
    start = datetime.now(timezone.utc) - timedelta(minutes=10)
    events = (event(number, start + timedelta(milliseconds=number), rng) for number in range(count))
    messages = ((k, v if number % BROKEN_EVERY else v[:-1]) for number, (k, v) in enumerate(events))
    fill_topic(settings, settings.kafka.order_created, messages)


def rows_of(streams: Iterable[str], events: int) -> dict[str, int]:
    """Rows that each stream finishes of the events of `fill`."""
    accepted = events - len(range(0, events, BROKEN_EVERY))
    return {name: accepted if name == TRACKER else events for name in streams}


def floors(settings: Settings, count: int) -> dict[str, float]:
    """Seconds of both plain consumers; the tables of the product lose what they hold."""
    plain = consume(settings, count, PLAIN)
    empty_tables(settings)
    same = consume(settings, count, SAME_TABLES)
    return {"floor_seconds": round(plain, 1), "same_tables_seconds": round(same, 1)}


def drain(
    deployment: Deployment,
    streams: Mapping[str, int],
    send: Callable[[], object],
    **variables: str,
) -> tuple[dict[str, float], dict[str, float]]:
    """Run streams on waiting messages.

    Args:
        deployment: that runs, with topics that these streams have read to their ends.
        streams: their names, and the rows that each must finish.
        send: puts them into the topics.
        variables: of the application, on top of the deployment's.

    Returns:
        Seconds from the moment when all messages wait until each stream has written everything,
        and the CPU seconds meanwhile by kind of process.
    """
    with deployment.run_streams(*streams, **variables) as child:
        with paused(child):
            send()
        started, done = time.monotonic(), dict[str, float]()
        before, states = cpu_seconds(child.pid), stream_states(deployment.settings)
        wanted = {name: states[name]["finished_rows"] + count for name, count in streams.items()}

        def finished() -> bool:
            for name, state in stream_states(deployment.settings).items():
                if name not in done and state["finished_rows"] >= wanted[name]:
                    done[name] = round(time.monotonic() - started, 1)
            return len(done) == len(streams)

        deployment.require(finished, GIVE_UP_SECONDS, "not drained", every=0.1, alive=child)
        after = cpu_seconds(child.pid)
        return done, {kind: round(after[kind] - spent, 1) for kind, spent in before.items()}


def main(
    events: Annotated[int, typer.Option(min=1000)] = 200_000,
    seed: int = 1,
    streams: Annotated[str, typer.Option(help="Names, with commas between; or `all`.")] = ",".join(
        WRITERS
    ),
    out: Out = None,
) -> None:
    """Measure once, in a fresh deployment, and print the JSON."""
    names = ORDER_STREAMS if streams == "all" else streams.split(",")
    rows = rows_of(names, events)
    with fresh() as deployment:
        settings = deployment.settings
        done, cpu = drain(deployment, rows, partial(fill, settings, events, seed))
        plain = floors(settings, events)
    slowest = max(done.values())
    result = {
        "events": events,
        **plain,
        "seconds": done,
        "events_a_second": round(events / slowest),
        "ratio_to_floor": round(slowest / plain["floor_seconds"], 2),
        "ratio_to_same_tables": round(slowest / plain["same_tables_seconds"], 2),
        "cpu_us_an_event": {kind: round(spent / events * 1e6) for kind, spent in cpu.items()},
        "java_options": settings.spark.driver_java_options,
    }
    print_result(result, out)


if __name__ == "__main__":
    typer.run(main)
