"""The parsed messages of a micro-batch as columns, and the ids of the rules that each failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Array: TypeAlias = Any
"""pa.Array or pa.ChunkedArray, which come without types."""
Fields: TypeAlias = Mapping[str, Array]
"""Column of the silver table -> its values in the messages."""
Mask: TypeAlias = npt.NDArray[np.bool_]
"""One boolean per message, or per element of the lists of messages."""


def is_one_of(column: Array, values: Sequence[str | int]) -> Array:
    """Whether each value is one of these; a null is not."""
    return pc.is_in(column, pa.array(values, column.type))


def to_mask(column: Array) -> Mask:
    """A boolean column as a mask; a null is false."""
    full = pc.fill_null(column, False) if column.null_count else column
    mask: Mask = full.to_numpy(zero_copy_only=False)
    return mask


def only(where: Array, column: Array) -> Array:
    """The values of a column where a boolean one is true; elsewhere null."""
    return pc.if_else(where, column, pa.scalar(None, column.type))


def relist(elements: Array, lists: pa.ListArray) -> pa.ListArray:
    """Lists of the same lengths with other elements; null where a message has no list."""
    return pa.ListArray.from_arrays(lists.offsets, elements, mask=pc.is_null(lists))


def or_empty(lists: pa.ListArray) -> pa.ListArray:
    """Lists with an empty one for a null: PyIceberg reads a null list of structs as empty."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    return pa.ListArray.from_arrays(offsets(lengths), pc.list_flatten(lists))


@dataclass(frozen=True)
class Lines:
    """The elements of the lists of all messages, in one sequence.

    Attributes:
        fields: of the elements, by the name of the table's column.
        lists: of each message, the structs of its elements, or null.
    """

    fields: Fields
    lists: pa.ListArray

    @classmethod
    def of(cls, lists: Sequence[Sequence[Any] | None], fields: Fields) -> Lines:
        """Lists from the fields of their elements and the list of each message, or None."""
        missing = [found is None for found in lists]
        lengths = [len(found or ()) for found in lists]
        structs = pa.StructArray.from_arrays(list(fields.values()), list(fields))
        mask = pa.array(missing, pa.bool_())
        return cls(fields, pa.ListArray.from_arrays(offsets(lengths), structs, mask=mask))

    @cached_property
    def parents(self) -> npt.NDArray[np.int64]:
        """The row of each element's message."""
        rows: npt.NDArray[np.int64] = pc.list_parent_indices(self.lists).to_numpy()
        return rows

    @cached_property
    def present(self) -> Mask:
        """Whether a message has a list."""
        return to_mask(pc.is_valid(self.lists))

    def all(self, good: Mask) -> Mask:
        """Whether every element of a message's list is good; true without a list."""
        every = np.ones(len(self.lists), bool)
        every[self.parents[~good]] = False
        return every


@dataclass(frozen=True)
class ParsedBatch:
    """The parsed messages of a micro-batch, as columns.

    Attributes:
        fields: by the name of the table's column; fields that the table lacks by any name.
        lines: the elements of their lists.
    """

    fields: Fields
    lines: Lines
    _equal: dict[tuple[str, str], Mask] = field(default_factory=dict, init=False)

    def equal(self, name: str, value: str) -> Mask:
        """Whether a field has this value; computed once per value. A null has not."""
        if (name, value) not in self._equal:
            self._equal[name, value] = to_mask(pc.equal(self.fields[name], value))
        return self._equal[name, value]


def offsets(lengths: Sequence[int] | npt.NDArray[Any]) -> pa.Int32Array:
    """Offsets of lists with these lengths."""
    return pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())


def failed(good: Mapping[str, Mask]) -> pa.ListArray:
    """list<string>: the ids of the rules that each message fails; empty for a good one.

    Args:
        good: rule id -> whether each message is good.
    """
    bad = ~np.column_stack(list(good.values()))
    _, which = np.nonzero(bad)
    ids = pa.array(list(good), pa.string()).take(pa.array(which))
    return pa.ListArray.from_arrays(offsets(bad.sum(axis=1)), ids)
