"""Kafka order topics -> bronze.order_events: every message as received, for replay and restatement.

Key (topic, partition, position); guarded append, exactly-once in effect.
"""

from pyspark.sql import DataFrame

from streaming.runner import Batch, Context, Stream, submit
from streaming.tables import BRONZE_ORDER_EVENTS

NAME = "bronze_order_events"


def build(context: Context) -> DataFrame:
    """Source rows of all order topics."""
    return context.read_topics(NAME, *context.settings.kafka.order_topics)


def write(batch: Batch) -> None:
    """Append as received."""
    batch.append(BRONZE_ORDER_EVENTS, batch.rows)


STREAM = Stream(NAME, build, write)

if __name__ == "__main__":
    submit(STREAM)
