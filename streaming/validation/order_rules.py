"""Rules for order events: those from the contract, and those that compare fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from conf.contracts.fields import ContractField, contract_fields
from conf.contracts.order_event import STATUS_CHANGED, STATUSES, VERSIONS, Item, Order, OrderEvent
from streaming.validation.batch import is_one_of
from streaming.validation.checks import (
    EARLIEST,
    END,
    Between,
    Check,
    IfAny,
    Matches,
    Money,
    OneOf,
    Text,
)
from streaming.validation.derived_checks import not_after, sum_of_lines
from streaming.validation.envelope import ENVELOPE_MEANINGS
from streaming.validation.rules import (
    REFUSED_MEANING,
    AnyRule,
    MessageRule,
    Rule,
    When,
    event_rules,
)

_ENVELOPE = {field.name: field for field in contract_fields(OrderEvent)}
_BODY = {field.name: field for field in contract_fields(Order)}
_CHANGE = When("event_type", STATUS_CHANGED)
_ORDER = When("event_type", STATUS_CHANGED, holds=False)


def order_rules(branches: Sequence[str], max_future_skew: timedelta) -> tuple[AnyRule, ...]:
    """The rules in the order in which quarantine lists them.

    Args:
        branches: ids of the known ones.
        max_future_skew: how far event time may lie after the broker's timestamp.
    """
    return (*_event_rules(tuple(branches), max_future_skew), *_CHANGE_RULES, *_ORDER_RULES)


def field_rule(field: ContractField, path: str = "", when: When | None = None) -> Rule:
    """The rule that checks a field by its own constraints.

    Args:
        field: of the event or of its order.
        path: prefix of the field in the description: `order.`.
        when: the events that have it.
    """
    kind = _KINDS[field.kind]
    suffix = kind.suffix if field.required else kind.optional_suffix or kind.suffix
    added = f", a field of version {field.since}," if field.since > 1 else ""
    sentence = f"{path}{field.name}{added} {_fault(field)}."
    return Rule(field.rule or f"{field.name}_{suffix}", sentence, (_check(field),), when=when)


@dataclass(frozen=True)
class _KindOfField:
    """How fields of a kind are checked.

    Attributes:
        suffix: of the rule's id.
        check: of a field that is not null.
        fault: field -> end of the description.
        optional_suffix: of the id, where a field may be left out and it differs.
    """

    suffix: str
    check: Callable[[ContractField], Check]
    fault: Callable[[ContractField], str]
    optional_suffix: str | None = None


def _check(field: ContractField) -> Check:
    check = _KINDS[field.kind].check(field)
    return check if field.required else IfAny(field.name, check)


def _fault(field: ContractField) -> str:
    return field.fault or _KINDS[field.kind].fault(field)


def _text_check(field: ContractField) -> Check:
    if pattern := field.limits.get("pattern"):
        return Matches(field.name, pattern.removesuffix("$") + END)
    return Text(field.name, field.limits["max_length"])


def _size_fault(field: ContractField) -> str:
    missing = "missing, " if field.required else ""
    unit = "lines" if field.kind == "list" else "characters"
    return f"is {missing}empty or longer than {field.limits['max_length']:,} {unit}"


def _none_of(values: Sequence[object]) -> str:
    if len(values) == 2:
        return f"is neither {values[0]} nor {values[1]}"
    return f"is none of {', '.join(map(str, values))}"


_KINDS = {
    "text": _KindOfField("present", _text_check, _size_fault, "length"),
    "choice": _KindOfField(
        "known", lambda f: OneOf(f.name, f.values), lambda f: _none_of(f.values)
    ),
    "integer": _KindOfField(
        "in_range",
        lambda f: Between(f.name, f.limits["ge"], f.limits["le"]),
        lambda f: f"is outside of {f.limits['ge']:,} to {f.limits['le']:,}",
    ),
    "money": _KindOfField(
        "money",
        lambda f: Money(f.name),
        lambda _: "is no positive amount with at most two decimals",
    ),
    "instant": _KindOfField(
        "utc",
        lambda f: Between(f.name, EARLIEST),
        lambda _: "is no existing time in UTC, like 2024-05-01T10:00:00Z",
    ),
    "list": _KindOfField(
        "present",
        lambda f: Between("item_count", f.limits["min_length"], f.limits["max_length"]),
        _size_fault,
    ),
}


def _event_rules(branches: tuple[str, ...], skew: timedelta) -> tuple[AnyRule, ...]:
    return (
        *event_rules(VERSIONS, f"schema_version {_none_of(VERSIONS)}."),
        field_rule(_ENVELOPE["event_type"]),
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
        f"order.old_status {_none_of(STATUSES)}.",
        "silver.orders keeps no old status; silver.order_status works it out from all changes.",
        lambda batch: pc.or_(
            pa.array(_ORDER.applies(batch)), is_one_of(batch.fields["old_status"], STATUSES)
        ),
    ),
    Rule(
        "new_status_known",
        f"order.new_status {_none_of(STATUSES)}.",
        (OneOf("status", STATUSES),),
        when=_CHANGE,
    ),
)

_EXTRA_RULES = {
    "created_at": Rule(
        "created_at_not_after_event",
        "order.created_at lies after event_time.",
        (not_after("created_at", "event_time"),),
        when=_ORDER,
    )
}
"""Field -> the rule that compares it with another one."""


def _order_rules() -> Iterator[Rule]:
    for field in _BODY.values():
        if field.name not in ("order_id", "branch_id"):  # every event has them
            yield field_rule(field, "order.", _ORDER)
        if field.name in _EXTRA_RULES:
            yield _EXTRA_RULES[field.name]
    yield from _line_rules()
    yield Rule(
        "total_equals_items",
        "order.total_price is not the sum of the lines, to the cent.",
        (sum_of_lines("total_price"),),
        when=_ORDER,
    )


def _line_rules() -> Iterator[Rule]:
    """Fields of a line that have the same rule id make one rule."""
    groups: dict[str, list[ContractField]] = {}
    for field in contract_fields(Item):
        groups.setdefault(field.rule or field.name, []).append(field)
    for rule_id, fields in groups.items():
        names = [field.name for field in fields]
        problem = (
            f"has a {names[0]} that {_fault(fields[0])}."
            if len(fields) == 1
            else f"lacks its {', '.join(names[:-1])} or {names[-1]}, or has a longer one than the "
            "contract allows."
        )
        sentence = f"A line of order.items {problem}"
        yield Rule(rule_id, sentence, tuple(map(_check, fields)), when=_ORDER, each=True)


_ORDER_RULES = tuple(_order_rules())

MEANINGS = (
    ENVELOPE_MEANINGS
    | {rule.id: rule.description for rule in order_rules((), timedelta())}
    | REFUSED_MEANING
)
"""Rule id -> what is wrong with a message that fails it; the same in every chain."""
