"""Rules on the parts of an order that must agree: lines, discounts, tax, payments, total."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf.contracts.fields import contract_fields
from conf.contracts.order_event import RETURNED, STATUS_CHANGED, TILLS, OrderV3
from streaming.validation.batch import Array, to_mask
from streaming.validation.checks import Between
from streaming.validation.derived_checks import at_most
from streaming.validation.field_rules import field_check
from streaming.validation.order_account import (
    finer_than_currency,
    flat_lists,
    less_account,
    less_lines,
    less_payments,
    parents,
)
from streaming.validation.rules import Condition, Rule, When

_IS_ORDER = Condition("event_type", STATUS_CHANGED, holds=False)
CHANGE = When((Condition("event_type", STATUS_CHANGED),))
ORDER = When((_IS_ORDER,))
BEFORE_V3 = When((_IS_ORDER, Condition("schema_version", TILLS)))
FROM_V3 = When((_IS_ORDER, Condition("schema_version", TILLS, holds=False)))
_RETURN = When((Condition("event_type", RETURNED),))


_LISTS = {field.name: field for field in contract_fields(OrderV3) if field.element}


def _account_rule(
    rule_id: str,
    description: str,
    compute: Callable[[Any], Array],
    limit: float = 0,
    when: When = FROM_V3,
) -> Rule:
    """A rule on a figure that is computed from an order, and is 0 to `limit` in a good one."""
    return Rule(rule_id, description, (at_most(f"{rule_id}_by", compute, limit),), when=when)


def _unknown(fields: Any, name: str) -> Array:
    """How many elements of a list have a value that the contract does not allow."""
    field = _LISTS[name]
    element = field.element
    lists = flat_lists(fields[name])
    parts = {
        part.name: pc.struct_field(lists.values, part.name) for part in contract_fields(element)
    }
    good = [to_mask(field_check(part).good(parts)) for part in contract_fields(element)]
    bad = np.bincount(parents(lists), ~np.logical_and.reduce(good), minlength=len(lists))
    longest = pc.fill_null(pc.list_value_length(lists), 0).to_numpy() > field.limits["max_length"]
    return pa.array(bad.astype(np.int64) + longest)


def _above_zero(fields: Any) -> Array:
    amounts = fields["total_price"]
    return pc.greater(amounts, pa.scalar(Decimal(0), amounts.type)).cast(pa.int64())


ACCOUNT_RULES = (
    _account_rule(
        "total_equals_items",
        "order.total_price is not the sum of the lines, to the cent.",
        less_lines,
        0.01,
        BEFORE_V3,
    ),
    _account_rule(
        "payments_known",
        "A payment of order.payments lacks its method or its amount, or has another one than the "
        "contract allows.",
        partial(_unknown, name="payments"),
    ),
    _account_rule(
        "discounts_known",
        "A discount of order.discounts lacks its amount, or the amount or reason is outside of the "
        "contract.",
        partial(_unknown, name="discounts"),
    ),
    _account_rule(
        "amounts_in_currency",
        "An amount of the order has more decimals than its currency.",
        finer_than_currency,
    ),
    _account_rule(
        "total_equals_account",
        "order.total_price is not the lines less discounts, plus tax on top, shipping, tip and "
        "rounding, to the smallest unit of the currency.",
        less_account,
        1,
    ),
    _account_rule(
        "total_equals_payments",
        "order.payments do not add up to order.total_price, to the smallest unit of the currency; "
        "those of an order that is not completed may be less.",
        less_payments,
        1,
    ),
    Rule(
        "return_since_v3",
        f"A return is an event of version {TILLS} or later.",
        (Between("schema_version", TILLS),),
        when=_RETURN,
    ),
    _account_rule(
        "return_not_positive",
        "order.total_price of a return is above 0: the customer would pay.",
        _above_zero,
        when=_RETURN,
    ),
)
"""Of whole orders; a figure is null, and the order bad, where a part of it cannot be read."""
