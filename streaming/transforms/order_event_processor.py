"""Order events: parse, judge, enrich. Source rows in, judged rows out; nothing is dropped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from conf.stores import Stores
from streaming.checks import Message, compiled, instant
from streaming.rules import judge
from streaming.transforms.order_rules import STATUS_CHANGED, order_rules
from streaming.transforms.quarantine import SOURCE_COLUMNS

Transform = Callable[[DataFrame], DataFrame]

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
LINE_FIELDS = ("product_id", "name", "category", "quantity", "unit_price")


def judge_order_events(stores: Stores, max_future_skew: timedelta) -> Transform:
    """Source rows -> the same rows with `event` (parsed) and `rules` (array of failed rule ids).

    Args:
        stores: the known branches.
        max_future_skew: how far event time may lie after the broker's timestamp.
    """
    rules = order_rules([b.branch_id for b in stores.branches], max_future_skew)

    def apply(rows: DataFrame) -> DataFrame:
        return judge(rows, EVENT_DDL, "order", lambda text: compiled(rules, order_message(text)))

    return apply


def order_message(text: Column) -> Message:
    """A parsed event beside its text, for `order_rules`: each field by its column in silver."""
    event, order = F.col("event"), F.col("event.order")
    of_order = (
        *("order_id", "customer_id", "branch_id", "payment_method", "currency", "total_price"),
        *("created_at", "items", "old_status"),
    )
    of_event = ("event_id", "event_type", "event_time", "schema_version", "source", "_corrupt")
    is_change = event.event_type == STATUS_CHANGED
    return Message(
        fields={
            **{name: event[name] for name in of_event},
            **{name: order[name] for name in of_order},
            "status": F.when(is_change, order.new_status).otherwise(order.status),
            "channel": _channel(event),
            "item_count": F.size(order["items"]),
            "key": F.col("key"),
            "timestamp": F.col("timestamp"),
            "_text": text,
        },
        elements=order["items"],
        of_element=lambda line: {name: line[name] for name in LINE_FIELDS},
    )


def _channel(event: Column) -> Column:
    """A field of version 2: to version 1 it is an unknown one, whatever it holds."""
    return F.when(event.schema_version >= 2, event.order.channel)


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
