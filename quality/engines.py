"""Great Expectations on Arrow tables (by pandas) and on files of the lake (by Spark)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from copy import copy
from typing import TYPE_CHECKING, Any

import great_expectations as gx
import pandas as pd
import pyarrow as pa
from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.expectation import Expectation
from pyspark.sql.pandas.types import from_arrow_schema

from quality.counted_units import in_units, name_wrong
from quality.results import SAMPLES
from quality.suite import RowSuite, Suite
from streaming.lake.iceberg.state import read_file
from streaming.lake.protocol import Increment
from streaming.runtime.session import build_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from conf.settings import Settings

# Integers with nulls remain integers, and booleans with nulls do not become text.
_PANDAS_TYPES = {
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}


def to_pandas(rows: pa.Table) -> pd.DataFrame:
    """A frame that keeps types: no float for a missing integer, decimals as they are."""
    frame: pd.DataFrame = rows.to_pandas(types_mapper=_PANDAS_TYPES.get)
    return frame


class Engines:
    """Where suites are validated; Spark starts when it is first needed. Close it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._spark: SparkSession | None = None
        logging.getLogger("great_expectations").setLevel(logging.ERROR)
        # Great Expectations tests a pattern for a match; pandas warns that its groups are not used.
        warnings.filterwarnings("ignore", "This pattern is interpreted as a regular expression")
        self._context = gx.get_context(mode="ephemeral")
        bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        self._context.variables.progress_bars = bars
        # One asset for all suites: each new one costs the context more than an expectation does.
        self._pandas = _all_of(self._context.data_sources.add_pandas("pandas"))

    def close(self) -> None:
        """Stop Spark, if it was needed."""
        if self._spark is not None:
            self._spark.stop()
            self._spark = None

    def validate_rows(self, suite: Suite, rows: pa.Table) -> ExpectationSuiteValidationResult:
        """By pandas: rows that fit into memory."""
        validated = _validate(suite, self._pandas, to_pandas(rows))
        in_units(suite, validated, rows)
        return validated

    def validate_files(
        self, suite: RowSuite, increment: Increment
    ) -> ExpectationSuiteValidationResult:
        """By Spark: rows of any number, shaped batch by batch."""
        if self._spark is None:
            self._spark = build_session(self._settings, "storelake:quality")
            self._files = _all_of(self._context.data_sources.add_spark("spark", persist=True))
        paths = self._spark.createDataFrame([(path,) for path in increment.paths], "path string")
        schema, access, shape = increment.schema, increment.access, suite.shape
        shaped = from_arrow_schema(shape(schema.empty_table()).schema)

        # Spark itself could not read these files on S3: its reader needs Hadoop's file system.
        def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                for path in batch["path"].to_pylist():
                    for rows in read_file(path, schema, access):
                        yield from shape(rows).to_batches()

        return _validate(suite, self._files, paths.mapInArrow(read, shaped))


def _all_of(source: Any) -> BatchDefinition[Any]:
    asset = source.add_dataframe_asset("rows")
    whole: BatchDefinition[Any] = asset.add_batch_definition_whole_dataframe("all")
    return whole


def _validate(
    suite: Suite, whole: BatchDefinition[Any], frame: Any
) -> ExpectationSuiteValidationResult:
    batch = whole.get_batch({"dataframe": frame})
    expectations = [_counted_in(suite.unit, expectation) for expectation in suite.expectations]
    validated: ExpectationSuiteValidationResult = batch.validate(
        ExpectationSuite(name=f"{suite.table}.{suite.name}", expectations=expectations),
        result_format={
            "result_format": "SUMMARY",
            "partial_unexpected_count": SAMPLES,
            "unexpected_index_column_names": list(suite.sample),
        },
    )
    name_wrong(suite, validated)
    return validated


def _counted_in(unit: str, expectation: Expectation) -> Expectation:
    """A copy, which belongs to one suite, with the unit of the suite where it has no own one."""
    mine = copy(expectation)
    mine.meta = {"unit": unit, **(expectation.meta or {})}
    return mine
