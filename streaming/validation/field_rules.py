"""Rules that follow from the constraints of a field of a contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conf.contracts.fields import DECIMAL_PLACES, ContractField
from streaming.validation.checks import (
    EARLIEST,
    END,
    Between,
    Check,
    Decimals,
    IfAny,
    Matches,
    Money,
    OneOf,
    Text,
)
from streaming.validation.rules import Rule, When


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
    sentence = f"{path}{field.name}{added} {field_fault(field)}."
    return Rule(field.rule or f"{field.name}_{suffix}", sentence, (field_check(field),), when=when)


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


def field_check(field: ContractField) -> Check:
    """The check of a field by its own constraints."""
    check = _KINDS[field.kind].check(field)
    return check if field.required else IfAny(field.name, check)


def field_fault(field: ContractField) -> str:
    """What is wrong with a value that fails the check, as the end of a sentence."""
    return field.fault or _KINDS[field.kind].fault(field)


def _text_check(field: ContractField) -> Check:
    if pattern := field.limits.get("pattern"):
        return Matches(field.name, pattern.removesuffix("$") + END)
    return Text(field.name, field.limits["max_length"])


def _size_fault(field: ContractField) -> str:
    missing = "missing, " if field.required else ""
    unit = "lines" if field.kind == "list" else "characters"
    return f"is {missing}empty or longer than {field.limits['max_length']:,} {unit}"


def none_of(values: Sequence[object]) -> str:
    """The end of a sentence on a value that is none of these."""
    if len(values) == 2:
        return f"is neither {values[0]} nor {values[1]}"
    return f"is none of {', '.join(map(str, values))}"


_KINDS = {
    "text": _KindOfField("present", _text_check, _size_fault, "length"),
    "choice": _KindOfField("known", lambda f: OneOf(f.name, f.values), lambda f: none_of(f.values)),
    "integer": _KindOfField(
        "in_range",
        lambda f: Decimals(f.name, f.limits["ge"], f.limits["le"], 0),
        lambda f: f"is no whole number from {f.limits['ge']:,} to {f.limits['le']:,}",
    ),
    "decimal": _KindOfField(
        "in_range",
        lambda f: Decimals(f.name, f.limits["ge"], f.limits["le"], DECIMAL_PLACES),
        lambda f: (
            f"is no number from {f.limits['ge']:,} to {f.limits['le']:,} with at most "
            f"{DECIMAL_PLACES} decimals"
        ),
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
