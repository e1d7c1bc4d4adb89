"""A small day of the chain, through the product's own streams, as data for queries.

Wednesday, 1 May 2024: three branches sell from 06:00 to 12:00 UTC, and their cameras film from
09:00 to 11:00. Some messages are broken, one camera is off for a few minutes, one order is never
finished. On Thursday two orders of Wednesday morning arrive, far too late.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from conf.contracts.topics import event_topics
from conf.stores import load_stores
from simulator.history import Span, frame_history, order_history
from tests.stream.sandbox import Sandbox, later
from tests.support.builders import as_json, detection, detection_event, order_event, order_item

WEDNESDAY, THURSDAY = "2024-05-01T06:00:00Z", "2024-05-02T09:00:00Z"
SELLING = Span(
    datetime(2024, 5, 1, 6, tzinfo=timezone.utc), datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
)
FILMED = Span(SELLING.start + timedelta(hours=3), SELLING.start + timedelta(hours=5))
AWAY = ("B02-entrance", FILMED.start + timedelta(minutes=40), timedelta(minutes=7))
ORDERS_AN_HOUR = 6.0

ORDER_STREAMS = (
    "bronze_order_events",
    "order_event_processor",
    "order_status_tracker",
    "real_time_metrics",
    "product_analytics",
)
CAMERA_STREAMS = ("bronze_detections", "silver_detections", "footfall")


def live(sandbox: Sandbox) -> None:
    """Send the messages of the day and of the next morning, and run the streams."""
    sell(sandbox)
    film(sandbox)
    break_things(sandbox)
    sandbox.run(
        *ORDER_STREAMS,
        *CAMERA_STREAMS,
        "store_hourly",
        steps=[lambda: the_next_morning(sandbox), lambda: remember_too_late(sandbox)],
    )


def sell(sandbox: Sandbox) -> None:
    """Real baskets in all branches; and a customer who comes three times."""
    stores = load_stores(sandbox.settings.stores_file)
    history = order_history(
        stores.branches, SELLING, mean=ORDERS_AN_HOUR, seed=11, run_id="wednesday"
    )
    for event in history:
        topic = event_topics(sandbox.settings.kafka)[event.event_type]
        sandbox.broker.produce(topic, event.value, event.key, timestamp=event.made_at)
    for number, hours in enumerate((0.5, 2.5, 4.75)):
        loyal = an_order(f"O-loyal-{number}", later(WEDNESDAY, hours * 3600))
        send(sandbox, loyal | {"schema_version": 2}, "order-created")
    send(sandbox, an_order("O-forgotten", later(WEDNESDAY, 60)), "order-created")


def an_order(order_id: str, at: str) -> dict[str, Any]:
    """Milk and bread for Carla."""
    items = [order_item(), order_item(product_id="P-2", name="BREAD", quantity=1, unit_price=2.40)]
    return order_event(
        order_id=order_id, customer_id="C-carla", created_at=at, event_time=at, items=items
    )


def send(sandbox: Sandbox, event: dict[str, Any], topic: str, arrives: str | None = None) -> None:
    """One event, which arrives when it happens, or later."""
    at = datetime.fromisoformat((arrives or event["event_time"]).replace("Z", "+00:00"))
    key = str(event["order"]["order_id"]).encode()
    sandbox.broker.produce(topic, as_json(event), key, timestamp=at)


def film(sandbox: Sandbox) -> None:
    """One visitor a minute at each entrance; at the tills of B01 people look and wait."""
    stores = load_stores(sandbox.settings.stores_file)
    camera, gone, how_long = AWAY
    for frame in frame_history(stores, FILMED, run_id="wednesday"):
        at = datetime.fromisoformat(frame["captured_at"].replace("Z", "+00:00"))
        if frame["camera_id"] == "B01-till":
            continue
        if frame["camera_id"] == camera and gone <= at < gone + how_long:
            continue
        show(sandbox, frame)
    for frame in at_the_tills():
        show(sandbox, frame)


def show(sandbox: Sandbox, frame: dict[str, Any]) -> None:
    """One frame, which arrives when it was taken."""
    at = datetime.fromisoformat(frame["captured_at"].replace("Z", "+00:00"))
    sandbox.broker.produce("detections", as_json(frame), frame["camera_id"].encode(), timestamp=at)


def at_the_tills() -> Iterator[dict[str, Any]]:
    """In each minute one person: some seconds at the snacks, then some more in the queue.

    The queue of the second hour is the slow one.
    """
    index = 0
    minutes = int((FILMED.end - FILMED.start) / timedelta(minutes=1))
    for minute in range(minutes):
        start = later("2024-05-01T09:00:00Z", 60 * minute)
        looking, waiting = 2 + minute % 7, 4 + minute % 9 + (20 if minute >= 60 else 0)
        for second in range(50):
            y = 0.40 if second < looking else 0.65
            here = second < looking + waiting
            if not here and second % 20:
                continue
            people = [detection(track_id=f"m{minute}", bbox=[0.2, y - 0.2, 0.3, y])] if here else []
            yield detection_event(
                camera_id="B01-till",
                run_id="wednesday",
                frame_index=index,
                captured_at=later(start, second),
                detections=people,
            )
            index += 1


def break_things(sandbox: Sandbox) -> None:
    """Dead letters of orders and of detections."""
    for number in range(3):
        bad = an_order(f"O-bad-{number}", later(WEDNESDAY, 3600 * number))
        bad["order"]["total_price"] = -1
        send(sandbox, bad, "order-created")
    nowhere = an_order("O-nowhere", later(WEDNESDAY, 7200))
    nowhere["order"]["branch_id"] = "B99"
    send(sandbox, nowhere, "order-updated")
    sandbox.broker.produce("order-events", b"{", b"O-half", timestamp=SELLING.start)
    sandbox.broker.produce("detections", b"\x00\xff", b"B01-entrance", timestamp=FILMED.start)


def the_next_morning(sandbox: Sandbox) -> None:
    """An order of Thursday moves the watermark, so that O-forgotten counts as stuck."""
    send(sandbox, an_order("O-thursday", THURSDAY), "order-created")


def remember_too_late(sandbox: Sandbox) -> None:
    """Two orders of Wednesday, 06:30, which a till sends on Thursday."""
    for number in range(2):
        late = an_order(f"O-late-{number}", later(WEDNESDAY, 1800 + 60 * number))
        send(sandbox, late, "order-created", arrives=later(THURSDAY, 600 + 45 * 60 * number))
