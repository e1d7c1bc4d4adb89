"""A topic is deleted and made again under its name: nothing of the new one is taken for the old."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streaming.runner import StreamFailedError
from tests.stream.house import House
from tests.support.builders import order_event

pytestmark = pytest.mark.timeout(600)

STREAMS = ("order_event_processor", "bronze_order_events")


def made_again(house: House) -> None:
    """Three orders are written, then the topic is another one with five."""
    house.send_order(*(order_event(order_id=f"O-{n}") for n in range(3)))
    house.run(*STREAMS)
    house.broker.delete_topic("order-created")
    house.broker.create_topic("order-created", 2)
    house.send_order(*(order_event(order_id=f"O-{n}") for n in range(10, 15)))


def orders(house: House) -> list[str]:
    return [r["order_id"] for r in house.query("SELECT order_id FROM orders_raw ORDER BY order_id")]


ALL = [f"O-{n}" for n in (0, 1, 10, 11, 12, 13, 14, 2)]


@pytest.mark.parametrize("checkpoint", ["kept", "lost"])
def test_by_option_every_event_of_the_new_topic_is_in_every_table_once(
    new_house: Callable[[], House], checkpoint: str
) -> None:
    house = new_house()
    made_again(house)
    streams = house.settings.streams.model_copy(update={"on_data_loss": "continue"})
    house.settings = house.settings.model_copy(update={"streams": streams})
    if checkpoint == "lost":
        house.forget_checkpoint(*STREAMS)
    house.run(*STREAMS)
    assert orders(house) == ALL
    assert sorted(r["order_id"] for r in house.lake("silver.orders")) == ALL
    assert len(house.lake("bronze.order_events")) == len(ALL)


def test_without_the_option_the_stream_is_refused_in_a_sentence(
    new_house: Callable[[], House],
) -> None:
    house = new_house()
    made_again(house)
    streams = house.settings.streams.model_copy(update={"retries": 1, "retry_base_seconds": 0.05})
    house.settings = house.settings.model_copy(update={"streams": streams})
    with pytest.raises(
        StreamFailedError, match=r"order-created.*deleted and made again.*onDataLoss"
    ):
        house.run(*STREAMS)
    assert orders(house) == ["O-0", "O-1", "O-2"]
