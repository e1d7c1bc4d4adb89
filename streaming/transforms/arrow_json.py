"""Arrow lists of structs as JSON text, column by column: no Python value per row."""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from streaming.validation.batch import Array, offsets


def to_json(lists: pa.ListArray) -> pa.StringArray:
    """Lists of structs of texts, integers and decimals as JSON arrays; null for a null list.

    Args:
        lists: without a null in a struct.
    """
    elements = pc.list_flatten(lists)
    parts = [
        part
        for n, field in enumerate(lists.type.value_type)
        for part in (f'{"," if n else "{"}"{field.name}":', _json(elements.field(n)))
    ]
    ends = offsets(pc.fill_null(pc.list_value_length(lists), 0).to_numpy())
    objects = pc.binary_join_element_wise(*parts, "}", "")
    texts = pa.ListArray.from_arrays(ends, objects, mask=pc.is_null(lists))
    return pc.binary_join_element_wise("[", pc.binary_join(texts, ","), "]", "")


def _json(column: Array) -> Array:
    """Texts, integers or decimals as JSON values."""
    if not pa.types.is_string(column.type):
        return column.cast(pa.string())
    unusual = pc.match_substring_regex(column, r'["\\\x00-\x1f]')
    quoted = pc.binary_join_element_wise('"', column, '"', "")
    escaped = [msgspec.json.encode(t).decode() for t in column.filter(unusual).to_pylist()]
    return pc.replace_with_mask(quoted, unusual, pa.array(escaped, pa.string()))
