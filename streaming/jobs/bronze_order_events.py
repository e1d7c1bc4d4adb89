"""Kafka order topics -> bronze.order_events: every message as received, for replay and restatement.

Key (topic, partition, position); guarded append, exactly-once in effect.
"""

from streaming.lake.tables import BRONZE_ORDER_EVENTS
from streaming.runtime.submit import submit
from streaming.steps import VALIDATE_ORDERS
from streaming.stream import ORDERS, Batch, Stream


def write(batch: Batch) -> None:
    """Append as received."""
    batch.append(BRONZE_ORDER_EVENTS, batch.rows)


STREAM = Stream(
    "bronze_order_events",
    source=ORDERS,
    steps=(VALIDATE_ORDERS,),
    write=write,
)

if __name__ == "__main__":
    submit(STREAM)
