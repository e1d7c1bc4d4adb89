"""What an order event must be like: the one place for its rules, and for what each one means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from streaming.validation.checks import (
    END,
    AnyRule,
    Between,
    Instant,
    Matches,
    MessageRule,
    Money,
    NotAfter,
    OneOf,
    OneOfIfAny,
    Rule,
    SumOfLines,
    Text,
    When,
    is_one_of,
)
from streaming.validation.rules import ENVELOPE_MEANINGS, REFUSED_MEANING, event_rules

STATUSES = ("pending", "processing", "completed", "cancelled")
FULL_EVENTS = ("order.created", "order.updated", "order.cancelled")
STATUS_CHANGED = "order.status_changed"
VERSIONS = (1, 2)
CHANNELS = ("store", "web", "app")

_CHANGE = When("event_type", STATUS_CHANGED)
_ORDER = When("event_type", STATUS_CHANGED, holds=False)


def order_rules(branches: Sequence[str], max_future_skew: timedelta) -> tuple[AnyRule, ...]:
    """The rules in the order in which quarantine lists them.

    Args:
        branches: ids of the known ones.
        max_future_skew: how far event time may lie after the broker's timestamp.
    """
    return (*_event_rules(tuple(branches), max_future_skew), *_CHANGE_RULES, *_ORDER_RULES)


def _event_rules(branches: tuple[str, ...], skew: timedelta) -> tuple[AnyRule, ...]:
    kinds = (*FULL_EVENTS, STATUS_CHANGED)
    return (
        *event_rules(VERSIONS, "schema_version is neither 1 nor 2."),
        Rule(
            "event_type_known",
            f"event_type is none of {', '.join(kinds)}.",
            (OneOf("event_type", kinds),),
        ),
        Rule(
            "event_time_utc",
            "event_time is no existing time in UTC, like 2024-05-01T10:00:00Z.",
            (Instant("event_time"),),
        ),
        Rule(
            "event_time_not_in_future",
            "event_time lies too far after the time of arrival.",
            (NotAfter("event_time", "timestamp", skew),),
        ),
        Rule(
            "source_present",
            "source is missing, empty or longer than 64 characters.",
            (Text("source"),),
        ),
        Rule(
            "order_id_present",
            "order.order_id is missing, empty or longer than 64 characters.",
            (Text("order_id"),),
        ),
        MessageRule(
            "key_is_order_id",
            "The key of the message is not order.order_id.",
            "The key of the message is no column.",
            lambda m: pc.equal(m.fields["key"], m.fields["order_id"].cast(pa.binary())),
        ),
        Rule(
            "branch_known",
            "order.branch_id is no branch of the chain.",
            (OneOf("branch_id", branches),),
        ),
    )


_CHANGE_RULES = (
    MessageRule(
        "old_status_known",
        f"order.old_status is none of {', '.join(STATUSES)}.",
        "silver.orders keeps no old status; silver.order_status works it out from all changes.",
        lambda m: pc.or_(
            pc.invert(_CHANGE.applies(m.fields)), is_one_of(m.fields["old_status"], STATUSES)
        ),
    ),
    Rule(
        "new_status_known",
        f"order.new_status is none of {', '.join(STATUSES)}.",
        (OneOf("status", STATUSES),),
        when=_CHANGE,
    ),
)

_ORDER_RULES = (
    Rule(
        "customer_id_present",
        "order.customer_id is missing, empty or longer than 64 characters.",
        (Text("customer_id"),),
        when=_ORDER,
    ),
    Rule(
        "status_known",
        f"order.status is none of {', '.join(STATUSES)}.",
        (OneOf("status", STATUSES),),
        when=_ORDER,
    ),
    Rule(
        "payment_method_known",
        "order.payment_method is neither cash nor online.",
        (OneOf("payment_method", ("cash", "online")),),
        when=_ORDER,
    ),
    Rule(
        "currency_code",
        "order.currency is no code of three capital letters.",
        (Matches("currency", "^[A-Z]{3}" + END),),
        when=_ORDER,
    ),
    Rule(
        "total_price_money",
        "order.total_price is no positive amount with at most two decimals.",
        (Money("total_price"),),
        when=_ORDER,
    ),
    Rule(
        "created_at_utc",
        "order.created_at is no existing time in UTC, like 2024-05-01T10:00:00Z.",
        (Instant("created_at"),),
        when=_ORDER,
    ),
    Rule(
        "created_at_not_after_event",
        "order.created_at lies after event_time.",
        (NotAfter("created_at", "event_time"),),
        when=_ORDER,
    ),
    Rule(
        "channel_known",
        f"order.channel, a field of version 2, is none of {', '.join(CHANNELS)}.",
        (OneOfIfAny("channel", CHANNELS),),
        when=_ORDER,
    ),
    Rule(
        "items_present",
        "order.items is missing, empty or longer than 10,000 lines.",
        (Between("item_count", 1, 10_000),),
        when=_ORDER,
    ),
    Rule(
        "item_named",
        "A line of order.items lacks its product_id, name or category, or has a longer one than "
        "the contract allows.",
        (Text("product_id"), Text("name", 256), Text("category", 128)),
        when=_ORDER,
        each=True,
    ),
    Rule(
        "item_quantity_positive",
        "A line of order.items has a quantity outside of 1 to 100,000.",
        (Between("quantity", 1, 100_000),),
        when=_ORDER,
        each=True,
    ),
    Rule(
        "item_price_money",
        "A line of order.items has a unit_price that is no positive amount with at most two "
        "decimals.",
        (Money("unit_price"),),
        when=_ORDER,
        each=True,
    ),
    Rule(
        "total_equals_items",
        "order.total_price is not the sum of the lines, to the cent.",
        (SumOfLines("total_price"),),
        when=_ORDER,
    ),
)

MEANINGS = (
    ENVELOPE_MEANINGS
    | {rule.id: rule.says for rule in order_rules((), timedelta())}
    | REFUSED_MEANING
)
"""What each failed rule says about a message, for people; the same in every chain."""
