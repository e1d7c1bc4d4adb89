"""Waiting orders into the sinks: `python -m benchmarks.drain --events 200000`.

Events wait in Kafka before the streams start. Time runs from the moment when every query is active
until each stream has written all of them. The floor is one plain consumer: confluent-kafka,
`json.loads`, COPY, and two upserts (event and order by key), without rules, versions, ledger, lake.
"""

from __future__ import annotations

import io
import json
import random
import time
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any
from uuid import UUID

import psycopg
import typer
from confluent_kafka import Consumer

from benchmarks import Out, cpu_seconds, fill_topic, notify, print_result
from conf.settings import Settings, load_settings
from infra import local
from infra.local.streams import stream_states
from verification.deployment import Deployment

ORDER_STREAMS = ("order_event_processor", "bronze_order_events")
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
    """Put events into the topic for created orders; one in two hundred is broken."""
    rng = random.Random(seed)  # noqa: S311
    start = datetime.now(timezone.utc) - timedelta(minutes=10)
    events = (event(number, start + timedelta(milliseconds=number), rng) for number in range(count))
    messages = ((k, v if number % 200 else v[:-1]) for number, (k, v) in enumerate(events))
    fill_topic(settings, settings.kafka.order_created, messages)


def floor(settings: Settings, count: int) -> float:
    """Seconds of the plain consumer."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap,
            "group.id": f"floor-{time.time()}",
            "auto.offset.reset": "earliest",
        }
    )
    with psycopg.connect(settings.postgres.dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TEMP TABLE floor_raw (event_id text PRIMARY KEY, payload jsonb);"
            "CREATE TEMP TABLE floor_processed (order_id text PRIMARY KEY, total numeric);"
            "CREATE TEMP TABLE floor_in "
            "(event_id text, order_id text, total numeric, payload jsonb)"
        )
        started, seen = time.monotonic(), 0
        consumer.subscribe([settings.kafka.order_topics[0]])
        while seen < count:
            messages = consumer.consume(20_000, 0.5)
            seen += len(messages)
            _write_floor(connection, messages)
    consumer.close()
    return time.monotonic() - started


def _write_floor(connection: psycopg.Connection[Any], messages: list[Any]) -> None:
    rows = io.StringIO()
    for message in messages:
        text = message.value().decode()
        try:
            body = json.loads(text)
        except ValueError:
            continue
        order = body["order"]
        fields = (body["event_id"], order["order_id"], str(order["total_price"]), text)
        rows.write(",".join('"' + f.replace('"', '""') + '"' for f in fields) + "\n")
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy("COPY floor_in FROM STDIN (FORMAT csv)") as copy:
            copy.write(rows.getvalue())
        cursor.execute(
            "INSERT INTO floor_raw SELECT event_id, payload FROM floor_in ON CONFLICT DO NOTHING"
        )
        cursor.execute(
            "INSERT INTO floor_processed SELECT order_id, total FROM floor_in "
            "ON CONFLICT (order_id) DO UPDATE SET total = EXCLUDED.total"
        )
        cursor.execute("TRUNCATE floor_in")


def drain(settings: Settings, streams: str, count: int) -> tuple[dict[str, float], float]:
    """Run streams on waiting messages.

    Args:
        settings: of running services.
        streams: names, with commas between.
        count: rows that each of them must finish.

    Returns:
        Seconds from the moment when every query is active until each stream has written everything,
        and the CPU seconds of all meanwhile.
    """
    names = streams.split(",")
    deployment = Deployment(settings, step=notify)
    with deployment.run_streams(*names) as child:
        started, done = time.monotonic(), dict[str, float]()
        before = sum(cpu_seconds(child.pid).values())

        def finished() -> bool:
            for name, state in stream_states(settings).items():
                if name not in done and state["finished_rows"] >= count:
                    done[name] = round(time.monotonic() - started, 1)
            return len(done) == len(names)

        deployment.require(finished, GIVE_UP_SECONDS, "not drained", every=0.1, alive=child)
        return done, sum(cpu_seconds(child.pid).values()) - before


def main(
    events: Annotated[int, typer.Option(min=1000)] = 200_000,
    seed: int = 1,
    streams: Annotated[str, typer.Option(help="Names, with commas between.")] = ",".join(
        ORDER_STREAMS
    ),
    out: Out = None,
) -> None:
    """Measure once, on a state folder that has no orders yet, and print the JSON."""
    with local.running(load_settings(), notify) as settings:
        fill(settings, events, seed)
        plain = floor(settings, events)
        done, _ = drain(settings, streams, events)
    slowest = max(done.values())
    result = {
        "events": events,
        "floor_seconds": round(plain, 1),
        "seconds": done,
        "events_a_second": round(events / slowest),
        "ratio_to_floor": round(slowest / plain, 2),
        "java_options": settings.spark.driver_java_options,
    }
    print_result(result, out)


if __name__ == "__main__":
    typer.run(main)
