"""The list of streams: their inputs, positions and outputs. Imports no Spark.

Jobs, tables, console, quality suites and checks derive their lists of streams from `STREAMS`. The
code of a stream is `streaming/jobs/NAME.py`; `Table.writer` names the stream of a lake table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from conf.settings import Settings


@dataclass(frozen=True)
class StreamEntry:
    """One stream.

    Attributes:
        name: of its module in `streaming/jobs`, its ledger rows and its lease.
        reads: kind of its messages; None: it reads `tables` when they have changed.
        ledger: where its source positions are.
        moved_by: which messages move its positions: all, good ones, or frames with people.
        serving: public Postgres tables that this stream writes.
        dead_letters: the table of rows that it rejects or sets aside; None: it rejects none.
        stateful: whether its query keeps state in Spark.
        tables: public Postgres tables that it reads.
    """

    name: str
    reads: Literal["orders", "detections"] | None
    ledger: Literal["postgres", "lake"]
    moved_by: Literal["all", "good", "people"] = "good"
    serving: tuple[str, ...] = ()
    dead_letters: str | None = None
    stateful: bool = False
    tables: tuple[str, ...] = ()

    def topics(self, settings: Settings) -> tuple[str, ...]:
        """The Kafka topics that it reads; positions of Pulsar's topics cannot be counted with."""
        if self.reads == "orders":
            return settings.kafka.order_topics
        from_kafka = self.reads == "detections" and "kafka" in settings.streams.detections_from
        return (settings.kafka.detections,) if from_kafka else ()


STREAMS = (
    StreamEntry(
        "order_event_processor",
        "orders",
        "postgres",
        moved_by="all",
        serving=("orders_raw", "orders_processed"),
        dead_letters="dead_letters",
    ),
    StreamEntry(
        "real_time_metrics",
        "orders",
        "postgres",
        serving=("order_metrics", "payments_hourly"),
        dead_letters="quarantine.late_events",
    ),
    StreamEntry(
        "order_status_tracker",
        "orders",
        "postgres",
        serving=("order_status_history",),
        stateful=True,
    ),
    StreamEntry(
        "footfall",
        "detections",
        "postgres",
        serving=(
            "line_crossings",
            "zone_visits",
            "footfall_minute",
            "zone_dwell_hourly",
            "queue_minute",
        ),
        stateful=True,
    ),
    StreamEntry(
        "store_hourly",
        None,
        "postgres",
        serving=("store_hourly",),
        tables=("order_metrics", "footfall_minute", "zone_visits"),
    ),
    StreamEntry(
        "product_analytics",
        "orders",
        "postgres",
        serving=("order_items", "order_items_analytics"),
    ),
    StreamEntry(
        "silver_detections",
        "detections",
        "lake",
        moved_by="people",
        dead_letters="quarantine.detections",
    ),
    StreamEntry("bronze_order_events", "orders", "lake", moved_by="all"),
    StreamEntry("bronze_detections", "detections", "lake", moved_by="all"),
)
"""Streams whose results users wait for come first."""

NAMES = tuple(stream.name for stream in STREAMS)
