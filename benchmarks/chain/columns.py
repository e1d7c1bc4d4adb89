"""Arrow columns from numpy, without a Python object a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.chain.plan import Longs

TIME = pa.timestamp("us", tz="UTC")
PARTITIONS = 4
DASHES = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
"""Where the hexadecimal digits of a UUID are parted."""


def times(microseconds: Longs, known: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Instants, UTC; null where they are not known."""
    return pa.array(microseconds, mask=None if known is None else ~known).cast(TIME)


def amounts(units: Longs, precision: int, scale: int) -> pa.Array:
    """Exact decimals of so many cents (scale 2) or milliseconds (scale 3); none is negative."""
    halves = np.zeros((len(units), 2), dtype=np.int64)
    halves[:, 0] = units
    kind = pa.decimal128(precision, scale)
    return pa.Array.from_buffers(kind, len(units), [None, pa.py_buffer(halves.tobytes())])


def words(choices: Sequence[str | None], picked: npt.NDArray[Any]) -> pa.Array:
    """One of some texts for each row."""
    return pa.array(choices, pa.string()).take(pa.array(picked))


def uuids(rng: np.random.Generator, count: int) -> pa.Array:
    """Random ids in the form that a till sends them."""
    digits = np.frombuffer(rng.bytes(16 * count).hex().encode(), dtype="S32")
    text = pa.array(digits, pa.binary()).cast(pa.string())
    parts = [pc.utf8_slice_codeunits(text, start, stop) for start, stop in DASHES]
    return pc.binary_join_element_wise(*parts, "-")


def numbered(prefix: str, numbers: Longs, width: int) -> pa.Array:
    """Texts that sort as their numbers."""
    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, "0")
    return pc.binary_join_element_wise(prefix, digits, "")


class Offsets:
    """Hands out the positions of a topic: each partition counts for itself."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, int], int] = {}

    def take(self, topic: str, partition: npt.NDArray[Any]) -> Longs:
        """The next offset of its partition for each message, in their order."""
        given = np.zeros(len(partition), dtype=np.int64)
        for number in range(PARTITIONS):
            mine = np.flatnonzero(partition == number)
            first = self._next.get((topic, number), 0)
            given[mine] = first + np.arange(len(mine))
            self._next[topic, number] = first + len(mine)
        return given
