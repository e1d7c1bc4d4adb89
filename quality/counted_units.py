"""What Great Expectations reports of rows -> what is wrong with a table, in its own units.

A fact is one row of many that a suite sums up: of a pair of numbers, the sums are counted. The
column that names what is wrong with a row is no column of the table, so it is `wrong` in samples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from great_expectations.core import (
    ExpectationSuiteValidationResult,
    ExpectationValidationResult,
)

from quality.suite import WRONG, FactSuite, Suite, is_missing


def in_units(suite: Suite, validated: ExpectationSuiteValidationResult, rows: pa.Table) -> None:
    """Replace counts of facts by counts of what they are about, in place.

    Args:
        suite: that was validated.
        validated: its result.
        rows: of the suite.
    """
    if not isinstance(suite, FactSuite):
        return
    for one in validated.results:
        config, result = _config(one), one.result
        if "element_count" not in result:  # it could not be validated
            continue
        if config.meta.get("counts"):
            result |= _sums(rows[config.kwargs["column_A"]], rows[config.kwargs["column_B"]])
        else:  # a fact without the figure is not counted
            result["element_count"] -= result.get("missing_count") or 0


def _sums(total: pa.ChunkedArray, good: pa.ChunkedArray) -> dict[str, int]:
    off = pc.sum(pc.abs(pc.subtract(total, good))).as_py() or 0
    return {"element_count": pc.sum(total).as_py() or 0, "unexpected_count": off}


def name_wrong(suite: Suite, validated: ExpectationSuiteValidationResult) -> None:
    """Keep of each sample what names the row, and as `wrong` what is wrong with it, in place."""
    columns = {str(_config(one).meta.get("wrong")) for one in validated.results}
    for one in validated.results:
        sample = one.result.get("partial_unexpected_index_list") or []
        own = _config(one).meta.get("wrong")
        one.result["partial_unexpected_index_list"] = [
            {name: value for name, value in _sample(row, columns, own) if _is_shown(suite, value)}
            for row in sample
            if isinstance(row, Mapping)
        ]


def _sample(
    row: Mapping[str, Any], columns: Collection[str], own: str | None
) -> Iterator[tuple[str, Any]]:
    yield from ((name, value) for name, value in row.items() if name not in columns)
    if own is not None:
        yield WRONG, row[own]


def _is_shown(suite: Suite, value: Any) -> bool:
    """Whether a value belongs to a sample: a fact has no value in columns of other facts."""
    return not (isinstance(suite, FactSuite) and is_missing(value))


def _config(one: ExpectationValidationResult) -> Any:
    """Its configuration, which is always there after validation."""
    return one.expectation_config
