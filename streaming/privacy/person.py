"""Finds one customer in values of any column, and redacts them (docs/adr/0045)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from conf.contracts.fields import contract_fields
from conf.contracts.order_event import OrderEventV3, OrderV3, StatusChange
from streaming.dlq_ids import OWN_HEADERS
from streaming.source import HISTORY_HEADER

ERASED = "erased"
"""What stands in place of a customer id."""
CUSTOMER, BODIES = "customer_id", frozenset({"value", "payload", "fixed_value"})
FREE_TEXT = frozenset({"reason", "discount_reason"})
"""Optional fields of an order that may describe its customer."""
NOT_PEOPLE = frozenset(
    {
        *("order_id", "event_id", "branch_id", "product_id", "original_order_id"),
        *("fulfilment_branch_id", "status_branch_id", "session_id", "topic", "position", "id"),
        *("origin", "redriven_as", "version", "body_version", "status_version", "sale_version"),
    }
)
"""Identifiers of something else, which may have the same characters as a customer id; not those
inside of a customer."""

Row = Mapping[str, Any]


class Person:
    """One customer.

    Args:
        id: the customer id, not empty.
    """

    def __init__(self, id: str) -> None:  # noqa: A002 - what it is called everywhere
        self.id = id

    @cached_property
    def _token(self) -> re.Pattern[str]:
        """The id as a token; a number only after "customer", since any count may be the same."""
        token = re.escape(self.id)
        if self.id.isdecimal():
            quote = r"""\\{0,7}["']?"""  # with backslashes in JSON that is a text of JSON
            return re.compile(rf"(customer\w{{0,8}}{quote}\s?[:=]?\s?{quote}){token}(?!\w)")
        return re.compile(rf"()(?<![\w-])(?<!\w[.@+]){token}(?![\w-]|[.@+]\w)")

    def in_text(self, text: str) -> bool:
        """Whether a text has the id as a token."""
        return bool(self._token.search(text))

    def places(self, data: bytes) -> list[tuple[int, int]]:
        """First byte and end of every place that has the id as a token."""
        pattern = re.compile(self._token.pattern.encode())
        return [(match.end(1), match.end()) for match in pattern.finditer(data)]

    def masked(self, text: str) -> str:
        """The text without the id."""
        return self._token.sub(rf"\g<1>{ERASED}", text)

    def in_column(self, name: str, value: Any) -> bool:
        """Whether a value of a column is about the customer."""
        return bool(self.redacted(name, value) != value)

    def redacted(self, name: str, value: Any, outer: tuple[str, ...] = ()) -> Any:
        """A value of a column, JSON or not, without the id; the same where it has none.

        Args:
            name: of the column or key.
            value: of it.
            outer: the names that enclose it, the nearest one last.
        """
        if value is None or (name in NOT_PEOPLE and not any("customer" in one for one in outer)):
            return value
        if name == "id" and "customer" in outer[-1]:
            name = outer[-1]
        if isinstance(value, bytes):
            return self._body(name, value, outer)
        if isinstance(value, str):
            return ERASED if self._is_id(name, value) else self._json_text(name, value, outer)
        if isinstance(value, Mapping):
            return {k: self.redacted(_label(value, k), v, (*outer, name)) for k, v in value.items()}
        if isinstance(value, Sequence):
            return [self.redacted(name, v, outer) for v in value]
        return ERASED if self._is_id(name, str(value)) else value

    def _is_id(self, name: str, text: str) -> bool:
        return text == self.id and ("customer" in name or not self.id.isdecimal())

    def redacted_row(self, row: Row, *, rejected: bool) -> Row:
        """A row without the customer: the same where it is not about them.

        A message of the customer keeps the fields of the contract, with `ERASED` for the id and
        without free text: amounts remain. A rejected one keeps no body, since any field of it may
        hold anything.
        """
        own = self.owns(row)
        return {name: self._cell(name, row[name], own=own, rejected=rejected) for name in row}

    def owns(self, row: Row) -> bool:
        """Whether a row, or the message in it, is the customer's."""
        return row.get(CUSTOMER) == self.id or any(
            self._owns_body(row[name]) for name in BODIES & row.keys()
        )

    def _cell(self, name: str, value: Any, *, own: bool, rejected: bool) -> Any:
        if own and name in BODIES and value is not None:
            return None if rejected else _kept(value, self)
        if own and name == "headers" and value is not None:
            return _own_headers(value)
        if own and name == "key" and value is not None and self._in_key(value):
            return None
        return self.redacted(name, _without_free_text(value) if own else value)

    def _in_key(self, key: bytes) -> bool:
        return key == self.id.encode() or bool(self.places(key))

    def _owns_body(self, body: Any) -> bool:
        customer = customer_of(body)
        if customer is not None:
            return customer == self.id
        return body is not None and self.in_column("", body)  # whose it is cannot be read

    def _body(self, name: str, body: bytes, outer: tuple[str, ...]) -> bytes | None:
        if self.id.encode() not in body and b"\\" not in body:
            return body
        parsed = _parsed(body)
        if isinstance(parsed, (dict, list)):
            clean = self.redacted(name, parsed, outer)
            return body if clean == parsed else msgspec.json.encode(clean)
        text = parsed if isinstance(parsed, str) else body.decode(errors="replace")
        found = self._is_id(name, text) if name == "key" or _is_whole(name) else self.in_text(text)
        return None if found else body

    def _json_text(self, name: str, text: str, outer: tuple[str, ...]) -> str:
        if text[:1] in {"{", "[", '"'} and (self.id in text or "\\" in text):
            parsed = _parsed(text)
            clean = self.redacted(name, parsed, outer)
            if parsed is not None:
                return text if clean == parsed else msgspec.json.encode(clean).decode()
        return text if _is_whole(name) else self.masked(text)


def _is_whole(name: str) -> bool:
    """Whether a column or key holds ids: another customer's may have this one as a part."""
    return "customer" in name or name in NOT_PEOPLE


def _label(pair: Mapping[str, Any], name: str) -> str:
    """The name of a value; that of a header which names a customer is the header's."""
    header = pair.get("key")
    named = name == "value" and isinstance(header, str) and "customer" in header
    return str(header) if named else name


def customer_of(body: bytes | str | None) -> str | None:
    """The customer id in the body of an order event; None where there is none to read."""
    parsed = _parsed(body)
    order = parsed.get("order") if isinstance(parsed, Mapping) else None
    found = order.get(CUSTOMER) if isinstance(order, Mapping) else None
    return str(found) if isinstance(found, (str, int)) else None


def _parsed(body: bytes | str | None) -> Any:
    """JSON with exact decimals; None where it is none."""
    try:
        return None if body is None else _DECODE(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_DECODE: Callable[[bytes | str], Any] = msgspec.json.Decoder(
    float_hook=lambda digits: msgspec.Raw(digits.encode())
).decode


def _kept(body: Any, person: Person) -> Any:
    """The fields of the contract in a body of the customer, in the form of the body."""
    parsed = _parsed(body)
    if not isinstance(parsed, Mapping) or not isinstance(parsed.get("order"), Mapping):
        return None
    order = {**_known(parsed["order"], StatusChange), **_known(parsed["order"], OrderV3)}
    if order.get(CUSTOMER) is not None:
        order[CUSTOMER] = ERASED
    kept = {**_known(parsed, OrderEventV3), "order": order}
    clean = msgspec.json.encode(person.redacted("", kept))
    return clean if isinstance(body, bytes) else clean.decode()


def _known(value: Mapping[str, Any], struct: type[msgspec.Struct]) -> dict[str, Any]:
    fields = {f.name: f for f in contract_fields(struct)}
    wanted = [name for name in value if name in fields and name not in FREE_TEXT]
    return {name: _elements(value[name], fields[name].element) for name in wanted}


def _elements(value: Any, element: type[msgspec.Struct] | None) -> Any:
    if element is None or not isinstance(value, list):
        return value
    return [_known(one, element) for one in value if isinstance(one, Mapping)]


def _without_free_text(value: Any) -> Any:
    """A column of the customer with null for each `FREE_TEXT` inside it, also in a JSON text."""
    if isinstance(value, Mapping):
        return {k: None if k in FREE_TEXT else _without_free_text(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_free_text(one) for one in value]
    if isinstance(value, str) and value[:1] in {"{", "["}:
        parsed = _parsed(value)
        clean = _without_free_text(parsed)
        return value if clean == parsed else msgspec.json.encode(clean).decode()
    return value


def _own_headers(headers: Sequence[Any]) -> list[Any]:
    """Headers of this project; those of a producer may name the customer."""
    kept = (OWN_HEADERS, HISTORY_HEADER)
    return [one for one in headers if _name(one).startswith(kept)]


def _name(header: Any) -> str:
    return str(header["key"] if isinstance(header, Mapping) else header[0])
