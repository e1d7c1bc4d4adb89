"""Ten kinds of damage, and which expectations must name each of them.

The first ones are sent via the broker, as bad days do. The others are written directly to tables,
past all rules, as a careless script would write them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.types import StringType

from conf.settings import Settings
from quality.results import Result
from simulator.history import HOUR, Span
from simulator.orders import SimulatedOrderEvent, instant
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.tables import TABLES

DRIFT_BRANCH, MISSING_BRANCH, STALE_CAMERA = "B02", "B03", "B01-entrance"
DRIFT_FACTOR = 25
LATE_EVENTS = 120
_TIMES = {table.name: table.time_column for table in TABLES}


@dataclass(frozen=True)
class InjectedFault:
    """One kind of damage.

    Attributes:
        name: what it is.
        named_by: expectations, of which at least one must fail; regular expressions on their ids.
        hints: words, of which a failure that names it must show one in its samples or observation;
            none: the id is enough.
        follows: expectations that may fail as well, since they see the same damage from elsewhere.
    """

    name: str
    named_by: tuple[str, ...]
    hints: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()

    def names(self, result: Result) -> bool:
        """Whether a failure is this damage, and its text names it."""
        text = f"{result.samples} {result.observed}"
        return _matches(self.named_by, result.id) and (
            not self.hints or any(hint in text for hint in self.hints)
        )

    def explains(self, result: Result) -> bool:
        """Whether a failure comes from this damage."""
        return self.names(result) or _matches(self.follows, result.id)


def _matches(patterns: Iterable[str], text: str) -> bool:
    return any(re.fullmatch(pattern, text) for pattern in patterns)


FAULTS = (
    InjectedFault("nulls", (r"silver\.detections\..*",), ("track_id",)),
    InjectedFault(
        "duplicates",
        (r"silver\.order_status\.keys\.unique",),
        follows=(r"postgres\.order_status_history\.twin\.equals_lake",),
    ),
    InjectedFault(
        "drift", (r"postgres\.order_metrics\.anomaly_order_value\.usual",), (DRIFT_BRANCH,)
    ),
    InjectedFault("missing hour", (r"postgres\.order_metrics\.gaps\.no_gap",), (MISSING_BRANCH,)),
    InjectedFault(
        "wrong sums",
        (r"postgres\.order_metrics\.sums\.equals_orders",),
        ("B01",),
        # What is made of the hours, or beside them, differs from them then.
        (
            r"postgres\.order_metrics\.twin\.equals_lake",
            r"postgres\.store_hourly\.sums\.equals_sides",
        ),
    ),
    InjectedFault(
        "stale camera", (r"postgres\.footfall_minute\.cameras\.camera_silent",), (STALE_CAMERA,)
    ),
    InjectedFault("unknown branch", (r"silver\.orders\.rows\.branch_known",), ("unknown-branch",)),
    InjectedFault(
        "negative price",
        (r"silver\.orders\.rows\.total_price_money",),
        ("negative-price",),
        (r"silver\.orders\.rows\.total_equals_items",),  # its lines cost what they did
    ),
    InjectedFault("schema change", (r"gold\.product_daily\.schema\.as_declared",), ("margin",)),
    InjectedFault("late burst", (r"bronze\.order_events\.account\.late_share",)),
)


def via_broker(events: Iterable[SimulatedOrderEvent], span: Span) -> Iterator[SimulatedOrderEvent]:
    """The events of a bad span: one branch is silent in its first hour, one has other prices."""
    silent: set[str] = set()
    for event in events:
        made_in_first_hour = event.event_time < span.start + HOUR
        if event.branch_id == MISSING_BRANCH and made_in_first_hour:
            silent.add(event.order_id)
        if event.order_id not in silent:
            yield _raise_prices(event) if event.branch_id == DRIFT_BRANCH else event


def _raise_prices(event: SimulatedOrderEvent) -> SimulatedOrderEvent:
    order = event.document["order"]
    if "items" not in order:
        return event
    items = [
        line | {"unit_price": float(Decimal(str(line["unit_price"])) * DRIFT_FACTOR)}
        for line in order["items"]
    ]
    total = sum(line["quantity"] * Decimal(str(line["unit_price"])) for line in items)
    order = order | {"items": items, "total_price": float(total)}
    return replace(event, document=event.document | {"order": order})


def late_burst(
    events: Sequence[SimulatedOrderEvent], at: datetime, sent_at: datetime
) -> Iterator[SimulatedOrderEvent]:
    """Orders sent at `sent_at` whose event times start at `at`, long before the watermark."""
    created = [event for event in events if event.event_type == "order.created"]
    for number, event in enumerate(created[:LATE_EVENTS]):
        when = instant(at + timedelta(seconds=number))
        event_id, order_id = f"{event.event_id[:-12]}{number:012x}", f"late-{number}"
        order = event.document["order"] | {"order_id": order_id, "created_at": when}
        document = event.document | {"event_id": event_id, "event_time": when, "order": order}
        yield replace(
            event, event_id=event_id, order_id=order_id, made_at=sent_at, document=document
        )


def write_directly(settings: Settings) -> None:
    """Damage tables without the streams, which must not run meanwhile."""
    with (
        closing(open_catalog(settings)) as catalog,
        psycopg.connect(settings.postgres.dsn) as connection,
    ):
        _append_row(catalog, "silver.detections", 0, track_id=None)
        _append_row(catalog, "silver.order_status", 0)  # a duplicate
        _append_row(catalog, "silver.orders", 1, branch_id="B99", position="unknown-branch")
        negative = {"total_price": Decimal("-5.00"), "position": "negative-price"}
        _append_row(catalog, "silver.orders", 2, **negative)
        with catalog.load_table("gold.product_daily").update_schema() as change:
            change.add_column("margin", StringType())
        connection.execute(
            "UPDATE order_metrics SET total_revenue = total_revenue + 1000 WHERE "
            "(branch_id, hour) = (SELECT branch_id, hour FROM order_metrics "
            "WHERE branch_id = 'B01' ORDER BY hour DESC OFFSET 5 LIMIT 1)"
        )


def _append_row(catalog: Catalog, name: str, number: int, **changes: Any) -> None:
    """Append a copy of one of the newest rows, changed."""
    table, time = catalog.load_table(name), _TIMES[name]
    rows = table.scan().to_arrow()
    if name == "silver.orders":
        rows = rows.filter(pc.field("event_type") == "order.created")
    row = rows.sort_by([(time, "descending")]).slice(number, 1).to_pylist()[0] | changes
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
