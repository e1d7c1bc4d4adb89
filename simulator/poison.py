"""Messages that must end in quarantine, each broken in one named way.

`Way.refused_by` names what refuses it: `contract` (the JSON Schema, or no JSON at all), or the
business rule that a contract-true message breaks. Poison is made from orders of its own, so the
events of good orders are complete.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from simulator.orders import SimulatedOrderEvent, as_json

HUGE_BYTES = 900_000  # under the megabyte that a broker takes by default
Rule = Literal[
    "contract", "total_is_sum", "branch_is_known", "not_in_the_future", "key_is_order_id"
]
Document = dict[str, Any]


@dataclass(frozen=True)
class Poisoned:
    """A message to send past the gateway."""

    way: str
    refused_by: Rule
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True)
class Way:
    """One way to break an event: either the document, or the message as bytes."""

    refused_by: Rule
    document: Callable[[Document, random.Random], Any] | None = None
    message: Callable[[bytes, bytes], tuple[bytes | None, bytes | None]] | None = None


def poison(event: SimulatedOrderEvent, way: str, rng: random.Random) -> Poisoned:
    """Break `event`, which must carry a full order, in the named way."""
    how = WAYS[way]
    key: bytes | None = event.key
    value: bytes | None = event.value
    if how.document is not None:
        value = as_json(how.document(copy.deepcopy(event.document), rng))
    if how.message is not None:
        key, value = how.message(event.key, event.value)
    return Poisoned(way, how.refused_by, key, value)


def draw_way(rng: random.Random) -> str:
    """Any way, all alike likely."""
    return rng.choice(list(WAYS))


def _missing_field(document: Document, rng: random.Random) -> Document:
    home = rng.choice([document, document["order"], document["order"]["items"][0]])
    del home[rng.choice(sorted(home))]
    return document


def _wrong_type(document: Document, rng: random.Random) -> Document:
    name, value = rng.choice([("total_price", "twelve"), ("items", {"0": "milk"}), ("status", 3)])
    document["order"][name] = value
    return document


def _set(**values: Any) -> Callable[[Document, random.Random], Document]:
    """Replace fields of the event."""
    return lambda document, _: {**document, **values}


def _set_order(**values: Any) -> Callable[[Document, random.Random], Document]:
    """Replace fields of the order."""
    return lambda document, _: {**document, "order": {**document["order"], **values}}


def _set_item(**values: Any) -> Callable[[Document, random.Random], Document]:
    """Replace fields of the first item."""

    def change(document: Document, _: random.Random) -> Document:
        document["order"]["items"][0].update(values)
        return document

    return change


def _another_total(document: Document, rng: random.Random) -> Document:
    order = document["order"]
    order["total_price"] = round(order["total_price"] + rng.randrange(100, 1000) / 100, 2)
    return document


def _no_time_zone(document: Document, _: random.Random) -> Document:
    return {**document, "event_time": document["event_time"].removesuffix("Z")}


WAYS: dict[str, Way] = {
    "broken_json": Way("contract", message=lambda key, value: (key, value[: len(value) // 2])),
    "not_an_object": Way("contract", document=lambda document, _: [document]),
    "empty_value": Way("contract", message=lambda key, _: (key, b"")),
    "null_value": Way("contract", message=lambda key, _: (key, None)),
    "not_utf8": Way("contract", message=lambda key, value: (key, value[:-2] + b"\xff\xfe}}")),
    "missing_field": Way("contract", document=_missing_field),
    "wrong_type": Way("contract", document=_wrong_type),
    "bad_event_id": Way("contract", document=_set(event_id="not-a-uuid")),
    "unknown_version": Way("contract", document=_set(schema_version=99)),
    "unknown_status": Way("contract", document=_set_order(status="teleported")),
    "no_time_zone": Way("contract", document=_no_time_zone),
    "negative_price": Way("contract", document=_set_item(unit_price=-1.99)),
    "zero_quantity": Way("contract", document=_set_item(quantity=0)),
    "nan_price": Way("contract", document=_set_item(unit_price=float("nan"))),
    "huge_value": Way("contract", document=_set_item(name="X" * HUGE_BYTES)),
    "wrong_total": Way("total_is_sum", document=_another_total),
    "unknown_branch": Way("branch_is_known", document=_set_order(branch_id="B-nowhere")),
    "far_future": Way("not_in_the_future", document=_set(event_time="9999-12-31T23:59:59Z")),
    "null_key": Way("key_is_order_id", message=lambda _, value: (None, value)),
}
