"""Order events: parse, judge, enrich. Source rows in, judged rows out; nothing is dropped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from conf.stores import Stores
from streaming.rules import (
    ENVELOPE_MEANINGS,
    UUID,
    has_json_types,
    instant,
    is_instant,
    is_money,
    is_text,
    judge,
)
from streaming.transforms.quarantine import SOURCE_COLUMNS

Transform = Callable[[DataFrame], DataFrame]

STATUSES = ("pending", "processing", "completed", "cancelled")
FULL_EVENTS = ("order.created", "order.updated", "order.cancelled")
STATUS_CHANGED = "order.status_changed"
VERSIONS = (1, 2)
CHANNELS = ("store", "web", "app")

# Money is read with six places, so that a third one is seen and refused, not rounded away.
EVENT_DDL = """
    event_id string, event_type string, event_time string, schema_version int, source string,
    order struct<
        order_id: string, customer_id: string, branch_id: string, status: string,
        payment_method: string, currency: string, total_price: decimal(20,6), created_at: string,
        channel: string,
        items: array<struct<product_id: string, name: string, category: string, quantity: bigint,
            unit_price: decimal(20,6)>>,
        old_status: string, new_status: string>,
    _corrupt string"""

_NUMBERS = ("total_price", "unit_price", "quantity", "schema_version")
_TEXTS = (
    *("event_id", "event_type", "event_time", "source", "order_id", "customer_id", "branch_id"),
    *("status", "old_status", "new_status", "payment_method", "currency", "created_at"),
    *("product_id", "name", "category"),
)

MEANINGS = ENVELOPE_MEANINGS | {
    "types_match": "A field has the wrong JSON type, such as a number in quotes.",
    "schema_version_known": "schema_version is neither 1 nor 2.",
    "event_id_uuid": "event_id is no UUID.",
    "event_type_known": f"event_type is none of {', '.join((*FULL_EVENTS, STATUS_CHANGED))}.",
    "event_time_utc": "event_time is no existing time in UTC, like 2024-05-01T10:00:00Z.",
    "event_time_not_in_future": "event_time lies too far after the time of arrival.",
    "source_present": "source is missing, empty or longer than 64 characters.",
    "order_id_present": "order.order_id is missing, empty or longer than 64 characters.",
    "key_is_order_id": "The key of the message is not order.order_id.",
    "branch_known": "order.branch_id is no branch of the chain.",
    "old_status_known": f"order.old_status is none of {', '.join(STATUSES)}.",
    "new_status_known": f"order.new_status is none of {', '.join(STATUSES)}.",
    "customer_id_present": "order.customer_id is missing, empty or longer than 64 characters.",
    "status_known": f"order.status is none of {', '.join(STATUSES)}.",
    "payment_method_known": "order.payment_method is neither cash nor online.",
    "currency_code": "order.currency is no code of three capital letters.",
    "total_price_money": "order.total_price is no positive amount with at most two decimals.",
    "created_at_utc": "order.created_at is no existing time in UTC, like 2024-05-01T10:00:00Z.",
    "created_at_not_after_event": "order.created_at lies after event_time.",
    "channel_known": f"order.channel, a field of version 2, is none of {', '.join(CHANNELS)}.",
    "items_present": "order.items is missing, empty or longer than 10,000 lines.",
    "item_named": "A line of order.items lacks its product_id, name or category, or has a longer "
    "one than the contract allows.",
    "item_quantity_positive": "A line of order.items has a quantity outside of 1 to 100,000.",
    "item_price_money": "A line of order.items has a unit_price that is no positive amount with at "
    "most two decimals.",
    "total_equals_items": "order.total_price is not the sum of the lines, to the cent.",
}
"""What each failed rule says about a message, for people."""


def judge_order_events(stores: Stores, max_future_skew: timedelta) -> Transform:
    """Source rows -> the same rows with `event` (parsed) and `rules` (array of failed rule ids).

    Args:
        stores: the known branches.
        max_future_skew: how far event time may lie after the broker's timestamp.
    """

    def apply(rows: DataFrame) -> DataFrame:
        return judge(
            rows, EVENT_DDL, "order", lambda text: _content_rules(text, stores, max_future_skew)
        )

    return apply


def _content_rules(text: Column, stores: Stores, skew: timedelta) -> dict[str, Column]:
    event, order = F.col("event"), F.col("event.order")
    newest = F.col("timestamp") + F.expr(f"INTERVAL {int(skew.total_seconds())} SECONDS")
    common = {
        "types_match": event._corrupt.isNull() & has_json_types(text, _NUMBERS, _TEXTS),
        "schema_version_known": event.schema_version.isin(*VERSIONS),
        "event_id_uuid": event.event_id.rlike(UUID),
        "event_type_known": event.event_type.isin(*FULL_EVENTS, STATUS_CHANGED),
        "event_time_utc": is_instant(event.event_time),
        "event_time_not_in_future": instant(event.event_time) <= newest,
        "source_present": is_text(event.source),
        "order_id_present": is_text(order.order_id),
        "key_is_order_id": F.col("key").cast("string") == order.order_id,
        "branch_known": order.branch_id.isin(*(b.branch_id for b in stores.branches)),
    }
    is_change = F.coalesce(event.event_type == STATUS_CHANGED, F.lit(False))
    changes = {
        "old_status_known": ~is_change | order.old_status.isin(*STATUSES),
        "new_status_known": ~is_change | order.new_status.isin(*STATUSES),
    }
    full = {name: is_change | rule for name, rule in _full_order_rules(event, order).items()}
    return common | changes | full


def _full_order_rules(event: Column, order: Column) -> dict[str, Column]:
    return {
        "customer_id_present": is_text(order.customer_id),
        "status_known": order.status.isin(*STATUSES),
        "payment_method_known": order.payment_method.isin("cash", "online"),
        "currency_code": order.currency.rlike(r"^[A-Z]{3}\z"),
        "total_price_money": is_money(order.total_price),
        "created_at_utc": is_instant(order.created_at),
        "created_at_not_after_event": instant(order.created_at) <= instant(event.event_time),
        "channel_known": _channel(event).isNull() | order.channel.isin(*CHANNELS),
        "items_present": F.size(order["items"]).between(1, 10_000),
        "item_named": F.forall(
            order["items"],
            lambda i: is_text(i["product_id"]) & is_text(i["name"], 256) & is_text(i.category, 128),
        ),
        "item_quantity_positive": F.forall(
            order["items"], lambda i: i["quantity"].between(1, 100_000)
        ),
        "item_price_money": F.forall(order["items"], lambda i: is_money(i["unit_price"])),
        "total_equals_items": F.abs(order.total_price - _items_total(order))
        <= F.lit("0.01").cast("decimal(4,2)"),
    }


def _channel(event: Column) -> Column:
    """A field of version 2: to version 1 it is an unknown one, whatever it holds."""
    return F.when(event.schema_version >= 2, event.order.channel)


def _items_total(order: Column) -> Column:
    zero = F.lit(0).cast("decimal(32,6)")
    return F.aggregate(
        order["items"],
        zero,
        lambda total, i: (total + i["quantity"].cast("decimal(12,0)") * i["unit_price"]).cast(
            "decimal(32,6)"
        ),
    )


def order_version(event_time: Column) -> Column:
    """Text that sorts as (event_time, topic, partition, position): the newest version wins."""
    return F.concat_ws(
        "|",
        F.date_format(event_time, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"),
        F.col("topic"),
        F.lpad(F.col("partition").cast("string"), 5, "0"),
        F.col("position"),
    )


def to_silver_orders(stores: Stores) -> Transform:
    """Judged rows -> rows of `silver.orders`: typed, with the branch's region and local time.

    The original message (key, value, headers), `rules`, and `items_json` stay beside it, for the
    sinks. Of a rejected row only these mean anything.
    A status change carries no order: its order columns are null, whatever it brought along, since
    no rule has judged them; `status` is its new status.
    """

    def apply(rows: DataFrame) -> DataFrame:
        event, change = F.col("event"), F.col("event.order")
        is_change = event.event_type == STATUS_CHANGED
        order = F.when(~is_change, change)
        event_time, created_at = instant(event.event_time), instant(order.created_at)
        local = F.from_utc_timestamp(created_at, _of_branch(stores, "timezone"))
        items = F.transform(
            order["items"],
            lambda i: F.struct(
                i["product_id"].alias("product_id"),
                i["name"].alias("name"),
                i.category.alias("category"),
                i["quantity"].cast("int").alias("quantity"),
                i["unit_price"].cast("decimal(12,2)").alias("unit_price"),
            ),
        )
        return rows.select(
            event.event_id.alias("event_id"),
            event.event_type.alias("event_type"),
            event_time.alias("event_time"),
            change.order_id.alias("order_id"),
            order.customer_id.alias("customer_id"),
            change.branch_id.alias("branch_id"),
            _of_branch(stores, "region").alias("region"),
            F.when(is_change, change.new_status).otherwise(change.status).alias("status"),
            F.when(is_change, change.old_status).alias("old_status"),
            order.payment_method.alias("payment_method"),
            order.currency.alias("currency"),
            order.total_price.cast("decimal(12,2)").alias("total_price"),
            created_at.alias("created_at"),
            F.when(~is_change, _channel(event)).alias("channel"),
            local.cast("date").alias("local_date"),
            F.hour(local).alias("local_hour"),
            F.when(order["items"].isNotNull(), F.size(order["items"])).alias("item_count"),
            items.alias("items"),
            F.to_json(items).alias("items_json"),
            event.source.alias("source"),
            order_version(event_time).alias("version"),
            *SOURCE_COLUMNS,
            "rules",
        )

    return apply


def _of_branch(stores: Stores, field: str) -> Column:
    pairs = [F.lit(x) for b in stores.branches for x in (b.branch_id, getattr(b, field))]
    return F.try_element_at(F.create_map(*pairs), F.col("event.order.branch_id"))
