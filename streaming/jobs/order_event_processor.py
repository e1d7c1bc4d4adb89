"""Order topics -> orders_raw, orders_processed (Postgres), silver.orders; bad ones to quarantine.

Keys: event_id, order_id, (topic, partition, position). One Postgres transaction a batch with its
ledger row, guarded appends to the lake, dead letters at least once: exactly-once in effect.
"""

from streaming.connectors.dead_letters import send_dead_letters
from streaming.connectors.orders import write_orders
from streaming.feeds import ORDER_EVENTS
from streaming.runner import Batch, Stream, submit
from streaming.tables import QUARANTINE_ORDER_EVENTS, SILVER_ORDERS
from streaming.transforms.quarantine import split_judged


def write(batch: Batch) -> None:
    """Postgres first, since people wait for it; then dead letters and the lake."""
    good, rejected = split_judged(batch.rows)
    batch.db.commit_batch(batch.stream, batch.id, good, write_orders)
    # Before the append, which says that they were sent: a crash in between sends them again.
    send_dead_letters(
        batch.context.settings.kafka, batch.lake.fresh(QUARANTINE_ORDER_EVENTS, rejected)
    )
    batch.lake.append(QUARANTINE_ORDER_EVENTS, rejected, batch.id)
    batch.lake.append(SILVER_ORDERS, good, batch.id)


STREAM = Stream("order_event_processor", ORDER_EVENTS, write)

if __name__ == "__main__":
    submit(STREAM)
