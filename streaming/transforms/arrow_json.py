"""Arrow lists of structs as JSON text, column by column: no Python value per row."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from streaming.validation.batch import Array, offsets


def to_json(lists: pa.ListArray) -> pa.StringArray:
    """Lists of structs as JSON arrays; null for a null list. A null field is left out.

    Args:
        lists: their structs have texts, integers and decimals; the first field has no null.
    """
    elements = pc.list_flatten(lists)
    kept = [
        (n, field.name)
        for n, field in enumerate(lists.type.value_type)
        if elements.field(n).null_count < len(elements)
    ]
    parts = [_member(name, elements.field(n), first=n == 0) for n, name in kept]
    ends = offsets(pc.fill_null(pc.list_value_length(lists), 0).to_numpy())
    bare = pc.binary_join_element_wise(*parts, "") if parts else pa.array([], pa.string())
    objects = pc.binary_join_element_wise("{", bare, "}", "")
    texts = pa.ListArray.from_arrays(ends, objects, mask=pc.is_null(lists))
    return pc.binary_join_element_wise("[", pc.binary_join(texts, ","), "]", "")


def _member(name: str, column: Array, *, first: bool) -> Array:
    """`"name":value` of each struct; empty where the value is null."""
    named = pc.binary_join_element_wise(f'{"" if first else ","}"{name}":', _json(column), "")
    return pc.fill_null(named, "")


def _json(column: Array) -> Array:
    """Texts, integers or decimals as JSON values; null for a null."""
    if not pa.types.is_string(column.type):
        plain = column.cast(pa.string())
        return _without_zeros(plain) if pa.types.is_decimal(column.type) else plain
    unusual = pc.match_substring_regex(column, r'["\\\x00-\x1f]')
    quoted = pc.binary_join_element_wise('"', column, '"', "")
    escaped = [msgspec.json.encode(t).decode() for t in column.filter(unusual).to_pylist()]
    return pc.replace_with_mask(
        quoted, pc.fill_null(unusual, False), pa.array(escaped, pa.string())
    )


def _without_zeros(decimals: Array) -> Array:
    """Texts of decimals with places, 10.0000 or 2.5000, as 10 and 2.5."""
    return pc.utf8_rtrim(pc.utf8_rtrim(decimals, "0"), ".")
