"""Validates an order event against its contract and lists the violations by field.

The streams validate with rules of their own, which include all of the contract; this is for
operators who edit an event and need to see which field is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from conf.contracts import event_schemas
from streaming.transforms.repair import to_path

_LONGEST_MESSAGE = 200
_DECIMAL = re.compile(r"Decimal\('([^']*)'\)")


@dataclass(frozen=True)
class ContractViolation:
    """One violation of the contract in an event.

    Attributes:
        path: as `set_path` takes it; empty for the whole event.
        message: what is wrong.
    """

    path: str
    message: str


def _is_integer(_: object, value: object) -> bool:
    """Whether a number has no fraction: 1.0 has none."""
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


@cache
def _validators() -> dict[int, Any]:
    checker = Draft202012Validator.FORMAT_CHECKER
    return {
        version: _Validator(schema, format_checker=checker)
        for version, schema in event_schemas("order_event").items()
    }


def find_faults(event: Any) -> list[ContractViolation]:
    """Violations of the contract of its version by an event, read by `repair.read_event`.

    An event without a known version is validated by the newest.
    """
    validators = _validators()
    version = event.get("schema_version") if isinstance(event, dict) else None
    number = int(version) if isinstance(version, (int, Decimal)) and version in validators else 0
    validator = validators.get(number, validators[max(validators)])
    try:
        errors = sorted(validator.iter_errors(event), key=lambda e: [str(p) for p in e.path])
    except ArithmeticError:  # such as 1e999999 % 0.01
        return [ContractViolation("", "a number is beyond all bounds")]
    return [ContractViolation(to_path(e.absolute_path), _short(e.message)) for e in errors]


def _short(message: str) -> str:
    """The message without Python's notation of numbers, and shortened."""
    text = _DECIMAL.sub(r"\1", message)
    if len(text) <= _LONGEST_MESSAGE:
        return text
    half = _LONGEST_MESSAGE // 2
    return f"{text[:half]} ... {text[-half:]}"
