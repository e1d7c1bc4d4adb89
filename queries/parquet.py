"""The rows of a query as a Parquet file, with the types that the engine reports."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlglot import exp
from sqlglot.errors import SqlglotError

from queries.engine import QueryError, RowStream
from queries.formats import as_text, distinct

BATCH_ROWS = 10_000
DType = exp.DType
SCALARS = {
    DType.BOOLEAN: pa.bool_(),
    DType.TINYINT: pa.int8(),
    DType.SMALLINT: pa.int16(),
    DType.INT: pa.int32(),
    DType.BIGINT: pa.int64(),
    DType.INT128: pa.decimal128(38, 0),  # DuckDB's type of a sum of integers
    DType.FLOAT: pa.float32(),
    DType.DOUBLE: pa.float64(),
    DType.DATE: pa.date32(),
    DType.TIMESTAMP: pa.timestamp("us"),
    DType.TIMESTAMPNTZ: pa.timestamp("us"),
    DType.TIMESTAMPTZ: pa.timestamp("us", tz="UTC"),
    DType.BINARY: pa.binary(),
    DType.VARBINARY: pa.binary(),
    **dict.fromkeys((DType.CHAR, DType.ENUM, DType.JSON, DType.TEXT, DType.VARCHAR), pa.string()),
}


def write_parquet(stream: RowStream, dialect: str, path: Path) -> None:
    """Write all rows, ten thousand at a time.

    Types without a counterpart in `SCALARS`, such as a map, become text, as in CSV; so does a list
    or a struct that has one inside.

    Args:
        stream: of one query.
        dialect: of the types of the stream, which is the name of the engine.
        path: of the file; overwritten.

    Raises:
        QueryError: a value has no place in the type of its column.
    """
    types = [arrow_type(text, dialect) for text in stream.types]
    converters: list[Callable[[Any], Any]] = [
        as_text if kind == pa.string() else lambda value: value for kind in types
    ]
    schema = pa.schema(list(zip(distinct(stream.columns), types, strict=True)))
    try:
        with pq.ParquetWriter(path, schema) as writer:
            while batch := list(islice(stream.rows, BATCH_ROWS)):
                columns = zip(zip(*batch, strict=True), converters, types, strict=True)
                arrays = [pa.array(map(to, values), kind) for values, to, kind in columns]
                writer.write_batch(pa.record_batch(arrays, schema))
    except pa.ArrowException as error:
        raise QueryError(f"The answer does not fit into Parquet: {error}.") from error


def arrow_type(text: str, dialect: str) -> pa.DataType:
    """The type in Arrow of a type in the SQL of an engine; text where there is none."""
    try:
        return _converted(exp.DataType.build(text, dialect=dialect))
    except (SqlglotError, LookupError):
        return pa.string()


def _converted(kind: exp.DataType) -> pa.DataType:
    """The same of a parsed type.

    Raises:
        LookupError: it has none.
    """
    inner = kind.expressions
    match kind.this:
        case DType.DECIMAL if len(inner) == 2:
            return pa.decimal128(*(int(one.name) for one in inner))
        case DType.ARRAY | DType.LIST:
            return pa.list_(_converted(inner[0]))
        case DType.STRUCT:
            return pa.struct([(field.name, _converted(field.args["kind"])) for field in inner])
    return SCALARS[kind.this]
