"""Kafka order topics -> bronze.order_events: every message as received, for replay and restatement.

Key (topic, partition, position); guarded append, exactly-once in effect.
"""

from streaming.lake.tables import BRONZE_ORDER_EVENTS
from streaming.runner import submit
from streaming.shared_sources import ORDER_EVENTS
from streaming.stream import Batch, Stream


def write(batch: Batch) -> None:
    """Append as received."""
    batch.append(BRONZE_ORDER_EVENTS, batch.rows)


STREAM = Stream("bronze_order_events", ORDER_EVENTS, write)

if __name__ == "__main__":
    submit(STREAM)
