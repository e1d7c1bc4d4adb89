"""Order topics -> orders_raw, orders_processed (Postgres), silver.orders; bad ones to quarantine.

Keys: event_id, order_id, (topic, partition, position). One Postgres transaction a batch with its
ledger row, guarded appends to the lake, dead letters at least once: exactly-once in effect.
"""

from pyspark.sql import DataFrame

from streaming.connectors.dead_letters import send_dead_letters
from streaming.connectors.orders import serving_rows, write_orders
from streaming.runner import Batch, Context, Stream, submit
from streaming.tables import QUARANTINE_ORDER_EVENTS, SILVER_ORDERS
from streaming.transforms.order_event_processor import judge_order_events, to_silver_orders
from streaming.transforms.quarantine import to_quarantine

NAME = "order_event_processor"


def build(context: Context) -> DataFrame:
    """Source rows, parsed and judged."""
    judge = judge_order_events(context.stores, context.settings.streams.max_future_skew)
    return context.read_topics(NAME, *context.settings.kafka.order_topics).transform(judge)


def write(batch: Batch) -> None:
    """Postgres first, since people wait for it; then dead letters and the lake."""
    judged = batch.df.persist()
    try:
        orders = judged.transform(to_silver_orders(batch.context.stores))
        rows = serving_rows(orders).toArrow()
        batch.db.commit_batch(
            NAME, batch.id, lambda connection: write_orders(connection, rows), rows_in=len(rows)
        )
        if rows.num_rows < judged.count():
            rejected = judged.transform(to_quarantine)
            if not batch.lake.has_batch(QUARANTINE_ORDER_EVENTS, NAME, batch.id):
                send_dead_letters(batch.context.settings.kafka, rejected)
            batch.lake.append(QUARANTINE_ORDER_EVENTS, rejected, NAME, batch.id)
        if rows.num_rows:
            batch.lake.append(SILVER_ORDERS, orders, NAME, batch.id)
    finally:
        judged.unpersist()


STREAM = Stream(NAME, build, write)

if __name__ == "__main__":
    submit(STREAM)
