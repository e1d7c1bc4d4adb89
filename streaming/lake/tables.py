"""Every table of the lake: grain, key, writer, write strategy, columns; source of docs/TABLES.md.

`infra/postgres/migrations` defines the Postgres tables; `copy_of` names the one that a table here
replicates.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, get_args

from conf.contracts.order_event import STATUSES
from conf.stores import Line, Zone
from streaming.lake.ddl import Column, parse_columns, split_top_level
from streaming.lake.domains import Domain, ValueRange, Values
from streaming.registry import STREAMS
from streaming.source import SOURCE_DDL
from streaming.transforms.lines import ENTRY, EXIT
from streaming.transforms.order_columns import ORDER_COLUMNS

Strategy = Literal["append", "upsert"]

COMMON_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.distribution-mode": "none",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
    # Merge small manifests into larger ones, so that planning does not grow with every commit.
    "commit.manifest-merge.enabled": "true",
    "commit.retry.num-retries": "20",
}


@dataclass(frozen=True)
class MaintenancePolicy:
    """How `storelake maintain` maintains one table.

    Attributes:
        sort: columns by which rows of a compacted file are sorted; the key, where none is named.
        target_bytes: of a compacted file. It is sorted in memory, which takes some ten times as
            much.
        min_files: least number of small files of one partition that are compacted.
        quiet: files of younger commits are not compacted.
        max_manifests: more small manifests than this are rewritten.
        snapshot_age: older ones are expired; None: `catalog.snapshot_retention`.
        orphan_age: files that no snapshot names are removed when they were written longer ago. It
            must be longer than the longest commit; a read has `snapshot_age`.
    """

    sort: tuple[str, ...] = ()
    target_bytes: int = 32 * 1024 * 1024
    min_files: int = 8
    quiet: timedelta = timedelta(minutes=1)
    max_manifests: int = 10
    snapshot_age: timedelta | None = None
    orphan_age: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class Table:
    """One table of the lake.

    Attributes:
        name: `namespace.table` in the catalog.
        grain: what one row is.
        key: columns that identify a row; unique for an upsert, and for a guarded append.
        writer: the one job that writes it.
        strategy: `append` (guarded by source positions in the snapshot) or `upsert` (by key).
        columns: DDL, with comments where the name is not clear.
        partition: Iceberg partition transforms.
        nullable: columns that may be null; no other one is, whatever the DDL allows.
        domains: what the values of a column may be, where its type allows more.
        time_column: time or day of a row; it bounds scans.
        copy_of: the Postgres table that this one replicates, row by row.
        policy: how it is maintained.
    """

    name: str
    grain: str
    key: tuple[str, ...]
    writer: str
    strategy: Strategy
    columns: str
    partition: tuple[str, ...] = ()
    nullable: tuple[str, ...] = ()
    domains: Mapping[str, Domain] = field(default_factory=dict)
    time_column: str = "timestamp"
    copy_of: str | None = None
    policy: MaintenancePolicy = field(default_factory=MaintenancePolicy)

    @property
    def sort(self) -> tuple[str, ...]:
        """Columns by which rows of a compacted file are sorted."""
        return self.policy.sort or self.key

    @property
    def fields(self) -> list[Column]:
        """The columns, one by one."""
        return parse_columns(self.columns)

    def add_sql(self, catalog: str, names: Collection[str]) -> str:
        """`ALTER TABLE` for Spark SQL that adds those of its columns."""
        added = [ddl for ddl in split_top_level(self.columns) if ddl.split()[0] in names]
        return f"ALTER TABLE {catalog}.{self.name} ADD COLUMNS ({', '.join(added)})"

    def create_sql(self, catalog: str) -> str:
        """`CREATE TABLE IF NOT EXISTS` for Spark SQL."""
        properties = ", ".join(f"'{k}'='{v}'" for k, v in COMMON_PROPERTIES.items())
        partition = f" PARTITIONED BY ({', '.join(self.partition)})" if self.partition else ""
        return (
            f"CREATE TABLE IF NOT EXISTS {catalog}.{self.name} ({self.columns}) USING iceberg"
            f"{partition} COMMENT '{self.grain}' TBLPROPERTIES ({properties})"
        )


_POSITION = ("topic", "partition", "position")
_MESSAGE = ("key", "value", "timestamp", "headers")
"""Columns of a message that may be null."""
_AMOUNT = ValueRange(0)
_LINE_KINDS = Values(get_args(Line.model_fields["kind"].annotation))
_ZONE_KINDS = Values(get_args(Zone.model_fields["kind"].annotation))


def _all_in(domain: Domain, *columns: str) -> dict[str, Domain]:
    return dict.fromkeys(columns, domain)


_QUARANTINED = f"{SOURCE_DDL}, rules array<string> COMMENT 'ids of the rules that failed'"

BRONZE_ORDER_EVENTS = Table(
    name="bronze.order_events",
    grain="one message of an order topic, as received",
    key=_POSITION,
    writer="bronze_order_events",
    strategy="append",
    columns=SOURCE_DDL,
    partition=("days(timestamp)",),
    nullable=_MESSAGE,
)

SILVER_ORDERS = Table(
    name="silver.orders",
    grain="one accepted order event, that is one version of an order; the newest version wins",
    key=_POSITION,
    policy=MaintenancePolicy(sort=("branch_id", "created_at", "order_id", "version")),
    writer="order_event_processor",
    strategy="append",
    columns=",\n".join(column.ddl for column in ORDER_COLUMNS if column.lake),
    partition=("days(event_time)",),
    nullable=tuple(column.name for column in ORDER_COLUMNS if column.lake and column.nullable),
)

ANOMALIES = ("duplicate", "out_of_order", "illegal_transition", "stuck", "stuck_withdrawn")
"""As `streaming.transforms.order_status` finds them."""

SILVER_ORDER_STATUS = Table(
    name="silver.order_status",
    grain="one change of the status of one order, or one alarm that an order is stuck",
    key=("event_id",),
    writer="order_status_tracker",
    strategy="upsert",
    columns="""
        event_id string, order_id string, branch_id string, old_status string, new_status string,
        changed_at timestamp, previous_status string COMMENT 'by the changes in event time',
        previous_changed_at timestamp,
        processing_time_seconds decimal(16,3) COMMENT 'spent in previous_status',
        anomaly string COMMENT 'null for an ordinary change',
        session_id string, overtaken boolean COMMENT 'a later change had arrived before',
        version string, change_id bigint COMMENT 'rises with every change: a cursor for readers'""",
    partition=("days(changed_at)",),
    nullable=(
        *("previous_status", "previous_changed_at", "processing_time_seconds"),
        *("anomaly", "session_id"),
    ),
    domains={
        **_all_in(Values(STATUSES), "old_status", "new_status", "previous_status"),
        "anomaly": Values(ANOMALIES),
        "processing_time_seconds": _AMOUNT,
    },
    time_column="changed_at",
    copy_of="order_status_history",
)

QUARANTINE_ORDER_EVENTS = Table(
    name="quarantine.order_events",
    grain="one rejected message of an order topic, whole, with the rules it failed",
    key=_POSITION,
    writer="order_event_processor",
    strategy="append",
    columns=_QUARANTINED,
    nullable=_MESSAGE,
)

QUARANTINE_LATE_EVENTS = Table(
    name="quarantine.late_events",
    grain="one accepted order event that came too late for its hour; restate applies it",
    key=_POSITION,
    writer="real_time_metrics",
    strategy="upsert",
    columns=f"""{_QUARANTINED},
        change_id bigint COMMENT 'rises with every change: a cursor for readers'""",
    nullable=(*_MESSAGE, "change_id"),
)

GOLD_ORDER_HOURLY = Table(
    name="gold.order_hourly",
    grain="orders created, and returns made, in one branch, UTC hour and currency",
    key=("branch_id", "hour", "currency"),
    writer="real_time_metrics",
    strategy="upsert",
    columns="""
        branch_id string, hour timestamp COMMENT 'start, UTC',
        currency string COMMENT 'ISO 4217; XXX where an older release did not keep it',
        order_count bigint, total_revenue decimal(18,4) COMMENT 'all orders',
        net_revenue decimal(18,4) COMMENT 'without cancelled orders, less refunds',
        average_order_value decimal(18,4),
        pending_count bigint, processing_count bigint, completed_count bigint,
        cancelled_count bigint, cash_count bigint,
        online_count bigint COMMENT 'as events of versions 1 and 2 have it',
        in_store_count bigint COMMENT 'made in the shop; unknown channels, too',
        in_store_cancelled_count bigint, in_store_revenue decimal(18,4),
        return_count bigint, refunds decimal(18,4) COMMENT 'handed back for returns',
        is_final boolean COMMENT 'events for it are late from now on',
        final_order_count bigint COMMENT 'as it was when the hour became final',
        final_total_revenue decimal(18,4), final_net_revenue decimal(18,4),
        corrected_at timestamp COMMENT 'when a final hour last came to differ from final_ columns',
        revision bigint, updated_at timestamp,
        change_id bigint COMMENT 'rises with every change: a cursor for readers'""",
    partition=("months(hour)",),
    nullable=(
        *("average_order_value", "final_order_count", "final_total_revenue"),
        *("final_net_revenue", "corrected_at"),
    ),
    domains=_all_in(
        _AMOUNT,
        *("order_count", "pending_count", "processing_count", "completed_count"),
        *("cancelled_count", "cash_count", "online_count", "in_store_count"),
        *("in_store_cancelled_count", "return_count", "final_order_count"),
    ),
    time_column="hour",
    copy_of="order_metrics",
)

GOLD_PAYMENTS_HOURLY = Table(
    name="gold.payments_hourly",
    grain="payments by one method for the orders and returns of one branch, UTC hour and currency",
    key=("branch_id", "hour", "currency", "method"),
    writer="real_time_metrics",
    strategy="upsert",
    columns="""
        branch_id string, hour timestamp COMMENT 'start, UTC, of the order', currency string,
        method string COMMENT 'cash, card ...; online: of versions 1 and 2',
        order_count bigint COMMENT 'paid in whole or in part by the method',
        total_amount decimal(18,4) COMMENT 'all orders',
        net_amount decimal(18,4) COMMENT 'without cancelled orders, less refunds',
        updated_at timestamp,
        change_id bigint COMMENT 'rises with every change: a cursor for readers'""",
    partition=("months(hour)",),
    domains={"order_count": _AMOUNT},
    time_column="hour",
    copy_of="payments_hourly",
)

GOLD_PRODUCT_DAILY = Table(
    name="gold.product_daily",
    grain="one product in the orders and returns of one branch, UTC day and currency",
    key=("branch_id", "day", "product_id", "currency"),
    writer="product_analytics",
    strategy="upsert",
    columns="""
        branch_id string, day date COMMENT 'UTC, of created_at', product_id string,
        currency string, name string COMMENT 'the newest of that branch and day', category string,
        order_count bigint COMMENT 'orders that hold the product, cancelled ones included',
        quantity decimal(18,4) COMMENT 'all orders', revenue decimal(18,4) COMMENT 'all orders',
        cancelled_orders bigint, cancelled_quantity decimal(18,4),
        cancelled_revenue decimal(18,4),
        returned_quantity decimal(18,4) COMMENT 'came back on this day, whenever it was sold',
        returned_revenue decimal(18,4),
        net_quantity decimal(18,4) COMMENT 'without cancelled orders, less returns',
        net_revenue decimal(18,4) COMMENT 'without cancelled orders, less returns',
        revision bigint, updated_at timestamp,
        change_id bigint COMMENT 'rises with every change: a cursor for readers'""",
    partition=("days(day)",),
    nullable=("category",),
    domains=_all_in(_AMOUNT, "order_count", "cancelled_orders"),
    time_column="day",
    copy_of="order_items_analytics",
)

BRONZE_DETECTIONS = Table(
    name="bronze.detections",
    grain="one message of the detections topic (one frame), as received",
    key=_POSITION,
    writer="bronze_detections",
    strategy="append",
    columns=SOURCE_DDL,
    partition=("days(timestamp)",),
    nullable=_MESSAGE,
)

SILVER_DETECTIONS = Table(
    name="silver.detections",
    grain="one object in one frame",
    # A tracker may write one id on several boxes, and a camera number its frames again.
    key=("camera_id", "run_id", "frame_index", "captured_at", "track_id", "x1", "y1", "x2", "y2"),
    policy=MaintenancePolicy(sort=("camera_id", "captured_at", "track_id")),
    writer="silver_detections",
    strategy="append",
    columns="""
        event_id string, branch_id string, camera_id string, run_id string, frame_index bigint,
        captured_at timestamp, track_id string, class string, confidence double,
        x1 double COMMENT 'box as shares of the picture', y1 double, x2 double, y2 double,
        anchor_x double COMMENT 'bottom centre of the box', anchor_y double,
        image_width int, image_height int, detector string, model string, tracker string,
        topic string, partition int, position string""",
    partition=("days(captured_at)", "branch_id"),
    nullable=("tracker",),
    time_column="captured_at",
)

QUARANTINE_DETECTIONS = Table(
    name="quarantine.detections",
    grain="one rejected message of the detections topic, whole, with the rules it failed",
    key=_POSITION,
    writer="silver_detections",
    strategy="append",
    columns=_QUARANTINED,
    nullable=_MESSAGE,
)

_CHANGE = "change_id bigint COMMENT 'rises with every change: a cursor for readers'"
_WITHDRAWN = "withdrawn boolean COMMENT 'a restatement took it back: it does not count'"

SILVER_LINE_CROSSINGS = Table(
    name="silver.line_crossings",
    grain="one crossing of one line by one track",
    key=("camera_id", "run_id", "track_id", "line_id", "crossed_at"),
    writer="footfall",
    strategy="upsert",
    columns=f"""
        branch_id string, camera_id string, run_id string, track_id string, line_id string,
        kind string COMMENT 'entrance, passing, or count: also a further line of an entrance',
        direction string COMMENT 'entry or exit',
        crossed_at timestamp COMMENT 'the first frame on the new side',
        is_staff boolean COMMENT 'not a visitor', layout_version int, {_WITHDRAWN}, {_CHANGE},
        group_id string COMMENT 'track_id of the first of the people who entered together',
        group_entered_at timestamp COMMENT 'when the first one entered; null where nobody did'""",
    partition=("days(crossed_at)",),
    nullable=("group_id", "group_entered_at"),
    domains={"kind": _LINE_KINDS, "direction": Values((ENTRY, EXIT))},
    time_column="crossed_at",
    copy_of="line_crossings",
)

SILVER_ZONE_VISITS = Table(
    name="silver.zone_visits",
    grain="one visit of one track to one zone",
    key=("camera_id", "run_id", "track_id", "zone_id", "entered_at"),
    writer="footfall",
    strategy="upsert",
    columns=f"""
        branch_id string, camera_id string, run_id string, track_id string, zone_id string,
        kind string COMMENT 'of the zone: browse, queue or staff',
        entered_at timestamp COMMENT 'the first frame inside',
        exited_at timestamp COMMENT 'the last frame inside; where is_open, an earlier one',
        dwell_seconds decimal(12,3), is_open boolean, is_staff boolean COMMENT 'not a visitor',
        layout_version int, {_WITHDRAWN}, updated_at timestamp, {_CHANGE}""",
    partition=("days(entered_at)",),
    domains={"kind": _ZONE_KINDS, "dwell_seconds": _AMOUNT},
    time_column="entered_at",
    copy_of="zone_visits",
)

GOLD_FOOTFALL_MINUTE = Table(
    name="gold.footfall_minute",
    grain="one camera in one UTC minute; a row exists when at least one frame was seen",
    key=("branch_id", "camera_id", "minute"),
    writer="footfall",
    strategy="upsert",
    columns=f"""
        branch_id string, camera_id string, minute timestamp COMMENT 'start, UTC',
        entries bigint COMMENT 'over lines of the kind entrance, staff left out', exits bigint,
        frames bigint,
        late_frames bigint COMMENT 'came when their place in the run was passed: not followed',
        people_peak bigint COMMENT 'the most people in one frame',
        revision bigint, updated_at timestamp, {_CHANGE},
        passers_by bigint COMMENT 'tracks over lines of the kind passing and no entrance',
        groups bigint COMMENT 'people who entered together count as one'""",
    partition=("days(minute)",),
    nullable=("passers_by", "groups"),
    domains=_all_in(
        _AMOUNT,
        *("entries", "exits", "frames", "late_frames", "people_peak", "passers_by", "groups"),
    ),
    time_column="minute",
    copy_of="footfall_minute",
)

GOLD_ZONE_DWELL_HOURLY = Table(
    name="gold.zone_dwell_hourly",
    grain="finished visits of one zone that began in one UTC hour, staff left out",
    key=("branch_id", "camera_id", "zone_id", "hour"),
    writer="footfall",
    strategy="upsert",
    columns=f"""
        branch_id string, camera_id string, zone_id string,
        hour timestamp COMMENT 'start, UTC', visits bigint,
        dwell_mean double COMMENT 'seconds; null without visits', dwell_p50 double,
        dwell_p95 double,
        visits_change_id bigint COMMENT 'newest change of silver.zone_visits in this row',
        updated_at timestamp, {_CHANGE}""",
    partition=("months(hour)",),
    nullable=("dwell_mean", "dwell_p50", "dwell_p95"),
    domains=_all_in(_AMOUNT, "visits", "dwell_mean", "dwell_p50", "dwell_p95"),
    time_column="hour",
    copy_of="zone_dwell_hourly",
)

GOLD_QUEUE_MINUTE = Table(
    name="gold.queue_minute",
    grain="one zone of the kind queue in one UTC minute, staff left out",
    key=("branch_id", "camera_id", "zone_id", "minute"),
    writer="footfall",
    strategy="upsert",
    columns=f"""
        branch_id string, camera_id string, zone_id string,
        minute timestamp COMMENT 'start, UTC', frames bigint,
        people bigint COMMENT 'in the zone, summed over the frames',
        length_mean double COMMENT 'people in the zone per frame; null without a frame',
        length_max bigint,
        waits bigint COMMENT 'visits that ended in this minute',
        wait_p50 double COMMENT 'seconds; null without waits', wait_p95 double,
        visits_change_id bigint COMMENT 'newest change of silver.zone_visits in this row',
        updated_at timestamp, {_CHANGE}""",
    partition=("days(minute)",),
    nullable=("length_mean", "wait_p50", "wait_p95"),
    domains=_all_in(
        _AMOUNT,
        *("frames", "people", "length_mean", "length_max", "waits", "wait_p50", "wait_p95"),
    ),
    time_column="minute",
    copy_of="queue_minute",
)

GOLD_STORE_HOURLY = Table(
    name="gold.store_hourly",
    grain="one branch in one UTC hour: where cameras and tills meet",
    key=("branch_id", "hour"),
    writer="store_hourly",
    strategy="upsert",
    columns="""
        branch_id string, hour timestamp COMMENT 'start, UTC',
        local_hour timestamp_ntz COMMENT 'the same instant on the wall clock of the branch',
        visitors bigint COMMENT 'entries; null without a minute of an entrance camera',
        orders bigint COMMENT 'of every channel and currency',
        orders_in_store bigint COMMENT 'made in the shop; unknown channels, too',
        orders_in_store_net bigint COMMENT 'without cancelled ones',
        conversion_rate double COMMENT 'orders_in_store / visitors; null where withheld',
        conversion_rate_net double COMMENT 'orders_in_store_net / visitors',
        conversion_withheld string COMMENT 'why rates are withheld; null where they are not',
        currency string COMMENT 'of the branch: revenue is of orders in it alone',
        revenue decimal(18,4), net_revenue decimal(18,4) COMMENT 'less refunds',
        revenue_in_store decimal(18,4),
        revenue_per_visitor decimal(18,4) COMMENT 'in store; null where withheld',
        orders_other_currency bigint COMMENT 'orders whose money is not in revenue',
        camera_coverage double COMMENT 'camera minutes seen / expected in the whole hour, 0..1',
        queue_waits bigint COMMENT 'queue visits that ended in the hour, staff left out',
        queue_wait_p50 double COMMENT 'seconds; null without waits', queue_wait_p95 double,
        occupancy_peak bigint COMMENT 'entries less exits since midnight at the branch, its most',
        is_final boolean COMMENT 'events of its orders are late from now on',
        corrected_at timestamp COMMENT 'when the orders of a final hour last changed',
        orders_change_id bigint COMMENT 'newest change of gold.order_hourly in this row',
        footfall_change_id bigint COMMENT 'newest change of gold.footfall_minute in this row',
        visits_change_id bigint COMMENT 'newest change of silver.zone_visits in this row',
        updated_at timestamp, change_id bigint COMMENT 'rises with every change',
        passers_by bigint COMMENT 'who did not enter; null without a camera with a passing line',
        groups bigint COMMENT 'of visitors who entered together; null without visitors',
        capture_rate double COMMENT 'visitors / (visitors + passers_by), 0..1',
        conversion_by_groups double COMMENT 'orders_in_store / groups; withheld as above'""",
    partition=("months(hour)",),
    nullable=(
        *("visitors", "conversion_rate", "conversion_rate_net", "conversion_withheld"),
        *("revenue_per_visitor", "camera_coverage", "corrected_at"),
        *("queue_wait_p50", "queue_wait_p95", "occupancy_peak", "passers_by", "groups"),
        *("capture_rate", "conversion_by_groups"),
    ),
    domains={
        **_all_in(_AMOUNT, "visitors", "orders", "orders_in_store", "orders_in_store_net"),
        **_all_in(_AMOUNT, "orders_other_currency", "queue_waits", "queue_wait_p50"),
        **_all_in(_AMOUNT, "queue_wait_p95", "occupancy_peak", "passers_by", "groups"),
        **_all_in(ValueRange(0, 1), "conversion_rate", "conversion_rate_net", "camera_coverage"),
        **_all_in(ValueRange(0, 1), "capture_rate", "conversion_by_groups"),
    },
    time_column="hour",
    copy_of="store_hourly",
)

QUALITY_MAINTENANCE_RUNS = Table(
    name="quality.maintenance_runs",
    grain="one table in one run of `storelake maintain`",
    key=("run_id", "table_name"),
    writer="maintenance",
    strategy="append",
    columns="""
        run_id string, ran_at timestamp, table_name string,
        state string COMMENT 'done, nothing to do, left alone, gone, or failed',
        files_before int, files_after int, compacted int COMMENT 'files that became fewer',
        manifests_before int, manifests_after int,
        snapshots_forgotten int, files_removed int COMMENT 'that no snapshot named',
        bytes_removed bigint, seconds double, note string COMMENT 'why not all was done'""",
    partition=("months(ran_at)",),
    nullable=("note",),
    time_column="ran_at",
)

QUALITY_VALIDATION_RESULTS = Table(
    name="quality.validation_results",
    grain="one expectation, validated in one run of `storelake quality run`",
    key=("run_id", "table_name", "suite", "expectation"),
    writer="quality",
    strategy="append",
    columns="""
        run_id string, ran_at timestamp, layer string, table_name string, suite string,
        expectation string COMMENT 'stable; of a row rule, the id that quarantine shows, too',
        kind string COMMENT 'as Great Expectations calls it',
        severity string COMMENT 'critical or warning',
        state string COMMENT 'passed, failed, or unreadable, which counts as failed',
        snapshot_id bigint COMMENT 'newest of the table then; null for a table of Postgres',
        row_count bigint COMMENT 'rows that were validated', unexpected_count bigint,
        unexpected_share double COMMENT '0..1', observed string COMMENT 'a figure or reason',
        samples string COMMENT 'JSON: keys of a few unexpected rows, nothing personal',
        says string COMMENT 'what a failure means'""",
    partition=("days(ran_at)",),
    nullable=("snapshot_id", "unexpected_count", "unexpected_share", "observed", "samples"),
    time_column="ran_at",
)

QUALITY_VALIDATED_SNAPSHOTS = Table(
    name="quality.validated_snapshots",
    grain="how far one table of the lake has been validated",
    key=("table_name",),
    writer="quality",
    strategy="upsert",
    columns="""
        table_name string, table_uuid string COMMENT 'changes when a table is made again',
        snapshot_id bigint COMMENT 'the newest one that was validated', sequence_number bigint,
        passed_snapshot_id bigint COMMENT 'the tag `validated`: nothing critical failed up to it',
        passed_sequence_number bigint COMMENT 'rows newer than this are validated next time',
        run_id string, validated_at timestamp""",
    nullable=("passed_snapshot_id",),
    time_column="validated_at",
)

TABLES = (
    BRONZE_ORDER_EVENTS,
    BRONZE_DETECTIONS,
    SILVER_ORDERS,
    SILVER_ORDER_STATUS,
    SILVER_DETECTIONS,
    SILVER_LINE_CROSSINGS,
    SILVER_ZONE_VISITS,
    GOLD_ORDER_HOURLY,
    GOLD_PAYMENTS_HOURLY,
    GOLD_PRODUCT_DAILY,
    GOLD_FOOTFALL_MINUTE,
    GOLD_ZONE_DWELL_HOURLY,
    GOLD_QUEUE_MINUTE,
    GOLD_STORE_HOURLY,
    QUARANTINE_ORDER_EVENTS,
    QUARANTINE_DETECTIONS,
    QUARANTINE_LATE_EVENTS,
    QUALITY_VALIDATION_RESULTS,
    QUALITY_VALIDATED_SNAPSHOTS,
    QUALITY_MAINTENANCE_RUNS,
)

SERVING_WRITERS = {table: stream.name for stream in STREAMS for table in stream.serving}
"""Public table of Postgres -> the stream that writes it."""
