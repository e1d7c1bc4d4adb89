"""Order topics -> orders_raw, orders_processed (Postgres), silver.orders; bad ones to quarantine.

Keys: event_id, order_id, (topic, partition, position). One Postgres transaction a batch with its
ledger row, guarded appends to the lake, dead letters at least once: exactly-once in effect.
"""

from pyspark.sql import DataFrame

from streaming.connectors.dead_letters import send_dead_letters
from streaming.connectors.orders import write_orders
from streaming.runner import Batch, Context, Stream, submit
from streaming.tables import QUARANTINE_ORDER_EVENTS, SILVER_ORDERS
from streaming.transforms.order_event_processor import judge_order_events, to_silver_orders
from streaming.transforms.quarantine import split_judged

NAME = "order_event_processor"


def build(context: Context) -> DataFrame:
    """Source rows, parsed, judged, typed."""
    judge = judge_order_events(context.stores, context.settings.streams.max_future_skew)
    return (
        context.read_topics(NAME, *context.settings.kafka.order_topics)
        .transform(judge)
        .transform(to_silver_orders(context.stores))
    )


def write(batch: Batch) -> None:
    """Postgres first, since people wait for it; then dead letters and the lake."""
    good, rejected = split_judged(batch.rows)
    batch.db.commit_batch(
        NAME, batch.id, lambda connection: write_orders(connection, good), rows_in=good.num_rows
    )
    if rejected.num_rows and not batch.lake.has_batch(QUARANTINE_ORDER_EVENTS, NAME, batch.id):
        send_dead_letters(batch.context.settings.kafka, rejected)
        batch.append(QUARANTINE_ORDER_EVENTS, rejected)
    batch.append(SILVER_ORDERS, good)


STREAM = Stream(NAME, build, write)

if __name__ == "__main__":
    submit(STREAM)
