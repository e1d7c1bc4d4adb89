"""A topic is deleted and created again under its name: its messages are not taken for old ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streaming.runtime.runner import StreamFailedError
from tests.stream.sandbox import Sandbox
from tests.support.builders import order_event

pytestmark = pytest.mark.timeout(600)

STREAMS = ("order_event_processor", "bronze_order_events")


def made_again(sandbox: Sandbox) -> None:
    """Three orders are written, then the topic is another one with five."""
    sandbox.send_order(*(order_event(order_id=f"O-{n}") for n in range(3)))
    sandbox.run(*STREAMS)
    sandbox.broker.delete_topic("order-created")
    sandbox.broker.create_topic("order-created", 2)
    sandbox.send_order(*(order_event(order_id=f"O-{n}") for n in range(10, 15)))


def orders(sandbox: Sandbox) -> list[str]:
    return [
        r["order_id"] for r in sandbox.query("SELECT order_id FROM orders_raw ORDER BY order_id")
    ]


ALL = [f"O-{n}" for n in (0, 1, 10, 11, 12, 13, 14, 2)]


@pytest.mark.parametrize("checkpoint", ["kept", "lost"])
def test_by_option_every_event_of_the_new_topic_is_in_every_table_once(
    new_sandbox: Callable[[], Sandbox], checkpoint: str
) -> None:
    sandbox = new_sandbox()
    made_again(sandbox)
    streams = sandbox.settings.streams.model_copy(update={"on_data_loss": "continue"})
    sandbox.settings = sandbox.settings.model_copy(update={"streams": streams})
    if checkpoint == "lost":
        sandbox.lose_checkpoint(*STREAMS)
    sandbox.run(*STREAMS)
    assert orders(sandbox) == ALL
    assert sorted(r["order_id"] for r in sandbox.lake("silver.orders")) == ALL
    assert len(sandbox.lake("bronze.order_events")) == len(ALL)


def test_without_the_option_the_stream_is_refused_in_a_sentence(
    new_sandbox: Callable[[], Sandbox],
) -> None:
    sandbox = new_sandbox()
    made_again(sandbox)
    streams = sandbox.settings.streams.model_copy(update={"retries": 1, "retry_base_seconds": 0.05})
    sandbox.settings = sandbox.settings.model_copy(update={"streams": streams})
    with pytest.raises(
        StreamFailedError, match=r"order-created.*deleted and made again.*onDataLoss"
    ):
        sandbox.run(*STREAMS)
    assert orders(sandbox) == ["O-0", "O-1", "O-2"]
