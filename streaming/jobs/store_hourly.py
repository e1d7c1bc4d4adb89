"""order_metrics + footfall_minute -> store_hourly (Postgres) and gold.store_hourly: J1.

Key (branch_id, hour). Every `streams.settle_seconds` `upsert_store_hourly()` finds the hours that
changed on either side since the newest changes that store_hourly itself names, and computes them
anew. Late data on either side corrects its hour; running twice changes nothing.
"""

import json

from streaming.mirror import mirror
from streaming.runner import Hands, Stream, submit
from streaming.tables import GOLD_STORE_HOURLY


def settle(hands: Hands) -> None:
    """Compute the changed hours anew, then copy them to the lake."""
    branches = [
        {"branch_id": b.branch_id, "timezone": b.timezone, "cameras": len(b.cameras)}
        for b in hands.context.stores.branches
    ]
    with hands.db.transaction() as connection:
        connection.execute("SELECT upsert_store_hourly(%s)", (json.dumps(branches),))
    mirror(hands, GOLD_STORE_HOURLY, "store_hourly", time_key="hour")


STREAM = Stream("store_hourly", settle=settle)

if __name__ == "__main__":
    submit(STREAM)
