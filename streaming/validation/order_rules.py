"""Rules for order events: those from the contract, and those that compare fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from conf.contracts.fields import ContractField, contract_fields
from conf.contracts.order_event import (
    EVENT_TYPES,
    IN_STORE,
    STATUSES,
    VERSIONS,
    Item,
    ItemV3,
    Order,
    OrderEvent,
    OrderV3,
)
from streaming.validation.batch import is_one_of
from streaming.validation.checks import OneOf
from streaming.validation.derived_checks import given, not_after
from streaming.validation.envelope import ENVELOPE_MEANINGS
from streaming.validation.field_rules import field_check, field_fault, field_rule, none_of
from streaming.validation.order_account_rules import (
    ACCOUNT_RULES,
    BEFORE_V3,
    CHANGE,
    FROM_V3,
    ORDER,
)
from streaming.validation.rules import (
    REFUSED_MEANING,
    AnyRule,
    MessageRule,
    Rule,
    When,
    event_rules,
)

ID_OF_OTHER_BRANCH, ID_USED_BEFORE = "order_id_of_other_branch", "order_id_used_before"
IDENTITY_MEANINGS = {
    ID_OF_OTHER_BRANCH: "The order_id belongs to an order of another branch.",
    ID_USED_BEFORE: "The order_id belongs to an earlier order of the branch.",
}
"""Rule that `streaming.sinks.order_ids` evaluates -> what is wrong with a message that fails it."""
_ENVELOPE = {field.name: field for field in contract_fields(OrderEvent)}
_BODY = {field.name: field for field in contract_fields(Order)}
# Silver has the channels of version 2 under their later names.
_BODY["channel"] = replace(
    _BODY["channel"],
    values=(IN_STORE, *_BODY["channel"].values[1:]),
    fault=none_of(_BODY["channel"].values),
)
_BODY_V3 = {field.name: field for field in contract_fields(OrderV3)}


def order_rules(branches: Sequence[str], max_future_skew: timedelta) -> tuple[AnyRule, ...]:
    """The rules in the order in which quarantine lists them.

    Args:
        branches: ids of the known ones.
        max_future_skew: how far event time may lie after the broker's timestamp.
    """
    return (*_event_rules(tuple(branches), max_future_skew), *_CHANGE_RULES, *_ORDER_RULES)


def _event_rules(branches: tuple[str, ...], skew: timedelta) -> tuple[AnyRule, ...]:
    return (
        *event_rules(VERSIONS, f"schema_version {none_of(VERSIONS)}."),
        Rule(
            "event_type_known",
            f"event_type {none_of(EVENT_TYPES)}.",
            (OneOf("event_type", EVENT_TYPES),),
        ),
        field_rule(_ENVELOPE["event_time"]),
        Rule(
            "event_time_not_in_future",
            "event_time lies too far after the time of arrival.",
            (not_after("event_time", "timestamp", skew),),
        ),
        field_rule(_ENVELOPE["source"]),
        field_rule(_BODY["order_id"], "order."),
        MessageRule(
            "key_is_order_id",
            "The key of the message is not order.order_id.",
            "The key of the message is no column.",
            lambda batch: pc.equal(batch.fields["key"], batch.fields["order_id"].cast(pa.binary())),
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
        f"order.old_status {none_of(STATUSES)}.",
        "silver.orders keeps no old status; silver.order_status works it out from all changes.",
        lambda batch: pc.or_(
            pa.array(ORDER.applies(batch)), is_one_of(batch.fields["old_status"], STATUSES)
        ),
    ),
    Rule(
        "new_status_known",
        f"order.new_status {none_of(STATUSES)}.",
        (OneOf("status", STATUSES),),
        when=CHANGE,
    ),
)

_EXTRA_RULES = {
    "created_at": Rule(
        "created_at_not_after_event",
        "order.created_at lies after event_time.",
        (not_after("created_at", "event_time"),),
        when=ORDER,
    )
}
"""Field -> the rule that compares it with another one."""


def _order_rules() -> Iterator[Rule]:
    for name, field in _BODY_V3.items():
        former = _BODY.get(name)
        if name not in ("order_id", "branch_id"):  # every event has them
            yield from _rules_of(former, field)
        if name in _EXTRA_RULES:
            yield _EXTRA_RULES[name]
    yield from _line_rules()
    yield from ACCOUNT_RULES


def _rules_of(former: ContractField | None, field: ContractField) -> Iterator[Rule]:
    """One rule for all versions, or one for those before version 3 and one from it on."""
    if field.kind == "boolean" or (field.element and field.name != "items"):
        return  # `types_match` and the rules of the account check them
    if former is None or _same(former, field):
        yield field_rule(field, "order.", ORDER)
        return
    yield _given_before(field_rule(former, "order.", BEFORE_V3))
    rule = field_rule(field, "order.", FROM_V3)
    yield replace(rule, id=f"v3_{rule.id}")


def _given_before(rule: Rule) -> Rule:
    """A rule before version 3, where later versions may leave some of its fields out."""
    checks = (given(c) if c.field in _OPTIONAL_NOW else c for c in rule.checks)
    return replace(rule, checks=tuple(checks))


_OPTIONAL_NOW = {
    field.name
    for field in (*contract_fields(OrderV3), *contract_fields(ItemV3))
    if not field.required and field.since == 1
}


def _same(one: ContractField, other: ContractField) -> bool:
    return one.name == "items" or one == other


def _line_rules() -> Iterator[Rule]:
    yield from map(_given_before, _grouped(contract_fields(Item), BEFORE_V3))
    for rule in _grouped(contract_fields(ItemV3), FROM_V3):
        yield replace(rule, id=f"v3_{rule.id}")


def _grouped(fields: Sequence[ContractField], when: When) -> Iterator[Rule]:
    """Fields of a line that have the same rule id make one rule."""
    groups: dict[str, list[ContractField]] = {}
    for field in fields:
        groups.setdefault(field.rule or f"item_{field_rule(field).id}", []).append(field)
    for rule_id, of_rule in groups.items():
        sentence = f"A line of order.items {_problem(of_rule)}"
        yield Rule(rule_id, sentence, tuple(map(field_check, of_rule)), when=when, each=True)


def _problem(fields: Sequence[ContractField]) -> str:
    *names, last = (field.name for field in fields)
    listed = f"{', '.join(names)} or {last}" if names else last
    if names and fields[0].kind == "text":
        return f"lacks its {listed}, or has a longer one than the contract allows."
    return f"has a {listed} that {field_fault(fields[0])}."


_ORDER_RULES = tuple(_order_rules())

MEANINGS = (
    ENVELOPE_MEANINGS
    | {rule.id: rule.description for rule in order_rules((), timedelta())}
    | IDENTITY_MEANINGS
    | REFUSED_MEANING
)
"""Rule id -> what is wrong with a message that fails it; the same in every chain."""
