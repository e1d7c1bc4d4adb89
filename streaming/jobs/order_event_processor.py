"""Order topics -> orders_raw, orders_processed, dead_letters (Postgres), silver.orders, quarantine.

Keys: event_id, order_id, (topic, partition, position). One Postgres transaction a batch with its
ledger row, guarded appends to the lake, order-dlq at least once: exactly-once in effect.
"""

from streaming.lake.tables import QUARANTINE_ORDER_EVENTS, SILVER_ORDERS
from streaming.runtime.submit import submit
from streaming.sinks.dlq_table import write_validated
from streaming.sinks.dlq_topic import send_dead_letters
from streaming.sinks.order_ids import identified
from streaming.steps import VALIDATE_ORDERS
from streaming.stream import ORDERS, Batch, Stream
from streaming.transforms.quarantine import split_validated


def write(batch: Batch) -> None:
    """Postgres first, since users wait for it; then the DLQ topic and the lake."""
    rows = identified(batch)
    batch.commit(rows, write_validated)
    good, rejected = split_validated(rows)
    # Before the append, which states that they were sent: a crash in between sends them again.
    send_dead_letters(
        batch.settings.kafka,
        batch.stream,
        batch.lake.fresh(QUARANTINE_ORDER_EVENTS, rejected),
    )
    batch.metrics.dead_letters(batch.stream, batch.append(QUARANTINE_ORDER_EVENTS, rejected))
    batch.append(SILVER_ORDERS, good)


STREAM = Stream(
    "order_event_processor",
    source=ORDERS,
    steps=(VALIDATE_ORDERS,),
    write=write,
    keeps_rejected=True,
)

if __name__ == "__main__":
    submit(STREAM)
