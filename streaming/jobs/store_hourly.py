"""order_metrics + footfall_minute -> store_hourly (Postgres) and gold.store_hourly: J1.

Key (branch_id, hour). Every second: `upsert_store_hourly()` finds the hours that changed on either
side since the newest changes that store_hourly itself names, and computes them anew. Late data on
either side corrects its hour; running twice changes nothing.
"""

import json

from streaming.feeds import TICKS
from streaming.mirror import mirror
from streaming.runner import Batch, Stream, submit
from streaming.tables import GOLD_STORE_HOURLY


def write(batch: Batch) -> None:
    """Compute the changed hours anew, then copy them to the lake."""
    branches = [
        {"branch_id": b.branch_id, "timezone": b.timezone, "cameras": len(b.cameras)}
        for b in batch.context.stores.branches
    ]
    with batch.db.transaction() as connection:
        connection.execute("SELECT upsert_store_hourly(%s)", (json.dumps(branches),))
    mirror(batch, GOLD_STORE_HOURLY, "store_hourly", time_key="hour")


STREAM = Stream("store_hourly", TICKS, write)

if __name__ == "__main__":
    submit(STREAM)
