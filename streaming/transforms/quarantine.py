"""Splits validated rows into good ones and rejected messages."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from streaming.source import SOURCE_COLUMNS


def split_validated(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rows with `rules` (ids of failed rules) -> (good rows, rejected messages).

    The rejected ones have the source columns and `rules`, as every quarantine table.
    """
    good = pc.equal(pc.list_value_length(rows["rules"]), 0)
    rejected = rows.filter(pc.invert(good)).select([*SOURCE_COLUMNS, "rules"])
    return rows.filter(good), rejected
