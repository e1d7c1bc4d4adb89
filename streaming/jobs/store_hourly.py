"""order_metrics + footfall_minute + zone_visits -> store_hourly (Postgres), gold.store_hourly.

Key (branch_id, hour). Every `streams.interval_seconds` `upsert_store_hourly()` finds the hours that
changed on any side since the newest changes that store_hourly itself names, and computes them
again. Late data on any side corrects its hour; running twice changes nothing. Conversion is
withheld below `streams.trusted_coverage`.
"""

import json

from streaming.lake.tables import GOLD_STORE_HOURLY
from streaming.runtime.submit import submit
from streaming.sinks.replicate import replicate
from streaming.stream import SinkContext, Stream


def on_interval(sink_context: SinkContext) -> None:
    """Compute the changed hours again, then replicate them."""
    stores = sink_context.stores
    branches = [
        {
            "branch_id": b.branch_id,
            "timezone": b.timezone,
            "currency": b.currency,
            "cameras": len(b.cameras),
            "entrances": [c.camera_id for c in b.cameras if stores.has_line(c, "entrance")],
            "passing": [c.camera_id for c in b.cameras if stores.has_line(c, "passing")],
        }
        for b in stores.branches
    ]
    with sink_context.db.writing(sink_context.stream) as connection:
        trusted = sink_context.settings.streams.trusted_coverage
        connection.execute("SELECT upsert_store_hourly(%s, %s)", (json.dumps(branches), trusted))
    replicate(sink_context, GOLD_STORE_HOURLY)


STREAM = Stream("store_hourly", on_interval=on_interval)

if __name__ == "__main__":
    submit(STREAM)
