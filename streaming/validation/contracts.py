"""Validates an order event against its contract and lists the violations by field.

The streams validate with rules of their own, which include all of the contract; this is for
operators who edit an event and need to see which field is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from conf.contracts import event_schemas
from streaming.transforms.repair import to_lines, to_path

_LONGEST_MESSAGE = 200
_DECIMAL = re.compile(r"Decimal\('([^']*)'\)")
_MISSING = object()
_EXPECTED = {
    "type": "the type {}",
    "enum": "one of {}",
    "const": "{}",
    "required": "a value",
    "format": "a {}",
    "pattern": "a text that matches {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} elements",
    "maxItems": "at most {} elements",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
}
"""Keyword of JSON Schema -> what it expects of a value; for other keywords, the message."""


@dataclass(frozen=True)
class ContractViolation:
    """One violation of the contract in an event.

    Attributes:
        path: as `set_path` takes it; empty for the whole event.
        expected: what the contract expects at the path.
        got: the value there as JSON, shortened; its type, where it is a list or an object.
    """

    path: str
    expected: str
    got: str

    @property
    def message(self) -> str:
        """What is wrong, without the path."""
        return f"expected {self.expected}, got {self.got}"


def _is_integer(_: object, value: object) -> bool:
    """Whether a number has no fraction: 1.0 has none."""
    if isinstance(value, Decimal):
        return value == value.to_integral_value()
    return isinstance(value, int) and not isinstance(value, bool)


def _required(_: Any, names: list[str], instance: object, __: object) -> Iterator[ValidationError]:
    """The keyword `required`, whose violations have the path of the field that is missing."""
    if isinstance(instance, dict):
        for name in (one for one in names if one not in instance):
            yield ValidationError("is missing", path=[name], instance=_MISSING)


_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"required": _required},
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
        return [ContractViolation("", "numbers within bounds", "one beyond all bounds")]
    return list(dict.fromkeys(map(_violation, errors)))  # a branch of `if` may repeat one


def _violation(error: ValidationError) -> ContractViolation:
    wanted = _EXPECTED.get(str(error.validator), "")
    expected = wanted.format(_as_text(error.validator_value)) or _short(error.message)
    return ContractViolation(to_path(error.absolute_path), _short(expected), _got(error.instance))


def _as_text(value: object) -> str:
    """A value of a keyword: a list as `a, b`."""
    values = value if isinstance(value, list) else [value]
    return ", ".join("null" if one is None else str(one) for one in values)


def _got(value: object) -> str:
    if value is _MISSING:
        return "nothing"
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,}"
    return _short(to_lines(value))


def _short(message: str) -> str:
    """The message without Python's notation of numbers, and shortened."""
    text = _DECIMAL.sub(r"\1", message)
    if len(text) <= _LONGEST_MESSAGE:
        return text
    half = _LONGEST_MESSAGE // 2
    return f"{text[:half]} ... {text[-half:]}"
