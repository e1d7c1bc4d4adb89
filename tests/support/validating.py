"""Runs suites by Great Expectations, on pandas, over tables in memory."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pandas as pd
import pyarrow as pa

from quality.suite import FactSuite, Suite, name_of
from tests.support.memory_context import MemoryContext


@cache
def _batches() -> Any:
    import great_expectations as gx  # noqa: PLC0415 - takes seconds

    context = gx.get_context(mode="ephemeral")
    source = context.data_sources.add_pandas("memory")
    return source.add_dataframe_asset("rows").add_batch_definition_whole_dataframe("all")


@dataclass(frozen=True)
class Finding:
    """A failed expectation: its id, severity, and sample of rows."""

    id: str
    severity: str
    rows: list[dict[str, Any]] = field(default_factory=list)


def rows_for(suite: Suite, context: MemoryContext) -> pa.Table:
    """The rows that a suite validates: its facts, or all rows of its table."""
    if isinstance(suite, FactSuite):
        return suite.load(context)
    rows = context.tables.get(suite.table)
    return pa.table({}) if rows is None else suite.shape(rows)


def validate(suites: Iterable[Suite], context: MemoryContext) -> list[Finding]:
    """All failed expectations."""
    return [
        finding for suite in suites for finding in _validate_suite(suite, rows_for(suite, context))
    ]


def _validate_suite(suite: Suite, rows: pa.Table) -> list[Finding]:
    import great_expectations as gx  # noqa: PLC0415

    if not rows.num_rows:
        return []
    frame: pd.DataFrame = rows.to_pandas()
    expectations = gx.ExpectationSuite(
        name="suite", expectations=[copy(e) for e in suite.expectations]
    )
    found = (
        _batches()
        .get_batch({"dataframe": frame})
        .validate(
            expectations,
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": list(suite.sample),
            },
        )
    )
    findings = []
    for result in found.results:
        assert not _exception(result), result.exception_info
        if not result.success:
            config = result.expectation_config
            name = f"{suite.table}.{suite.name}.{name_of(config)}"
            sample = result.result.get("unexpected_index_list") or []
            findings.append(Finding(name, config.severity.value, [dict(row) for row in sample]))
    return findings


def _exception(result: Any) -> bool:
    info = result.exception_info or {}
    return bool(info.get("raised_exception", bool(info) and "raised_exception" not in info))
