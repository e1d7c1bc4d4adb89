"""Arrow functions as steps of a Spark plan: batch by batch, in the tasks that hold the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import from_arrow_schema

Transform = Callable[[DataFrame], DataFrame]


def in_arrow(change: Callable[[pa.Table], pa.Table], schema: pa.Schema) -> Transform:
    """A plan step that applies `change` to each Arrow batch.

    Args:
        change: rows in, rows of `schema` out; correct for any subset of the rows.
        schema: of the output.
    """

    def each(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from change(pa.Table.from_batches([batch])).to_batches()

    return lambda rows: rows.mapInArrow(each, from_arrow_schema(schema))
