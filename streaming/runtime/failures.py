"""Errors of streams: whether the data caused one, and its innermost cause in one line."""

from __future__ import annotations

import re

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from conf.errors import StorelakeError, first_line
from streaming.progress import spans

DATA_SQLSTATES = ("21", "22", "23", "54000")
"""Cardinality violation, data exception, integrity constraint violation, program limit exceeded:
https://www.postgresql.org/docs/18/errcodes-appendix.html"""

_PLAN = "=== Streaming Query ==="
_ERROR = re.compile(
    r"(?:Caused by: )?((?:[\w$]+\.)*\w*(?:Error|Exception|Violation|Timeout|Interrupted))\b: *(.+)"
)
_SPARK_PREFIX = re.compile(
    r"^\[STREAM_FAILED\] Query \[[^\]]*\] terminated with exception: |(?:,? *SQLSTATE: \w{5})+$"
)
_LONGEST = 500


class StreamFailedError(StorelakeError):
    """A stream could not go on; the message names it and the last error."""


class StoppingError(Exception):
    """Raised by a sink that begins while the program stops; Spark replays the batch later."""


class SinkError(Exception):
    """The sinks of some streams of a query failed.

    Args:
        errors: stream -> what its sink raised.
        batch: its positions, as text.
    """

    def __init__(self, errors: dict[str, Exception], batch: str) -> None:
        self.errors = errors
        named = "; ".join(f"{name}: {root_cause(error)}" for name, error in errors.items())
        super().__init__(f"{named} (batch of {batch})")


def is_data_error(error: BaseException) -> bool:
    """Whether a sink failed because of the values in its rows, so that the same rows fail again.

    Everything else (a connection, a disk, a lock, a missing table) counts as infrastructure.
    """
    if isinstance(error, psycopg.Error):
        state = error.sqlstate
        if state is None:  # raised by the client, before the server has seen the value
            return isinstance(error, psycopg.DataError)
        return state.startswith(DATA_SQLSTATES)
    return isinstance(error, (pa.ArrowInvalid, UnicodeError, OverflowError))


def root_cause(error: BaseException) -> str:
    """`Class: message` of the innermost cause, in one line."""
    while inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = inner
    if isinstance(error, (SinkError, StorelakeError)):
        return first_line(error)[:_LONGEST]
    text = str(error)
    if "\n" in text:
        return cause_in_text(text)
    return f"{type(error).__name__}: {first_line(error)}"[:_LONGEST]


def cause_in_text(text: str) -> str:
    """The line of Spark's error text that names the innermost cause; plans are left out.

    Spark's text contains the Python traceback; the last error in it was raised first.
    """
    lines = [line.strip() for line in text.partition(_PLAN)[0].splitlines() if line.strip()]
    named = [line for line in lines if _ERROR.match(line)]
    line = (named or lines or ["no message"])[-1 if named else 0]
    return _SPARK_PREFIX.sub("", line.removeprefix("Caused by: "))[:_LONGEST]


def span(rows: pa.Table) -> str:
    """`topic[partition] first..last` of each partition in a batch, at most three."""
    if not rows.num_rows:
        return "no rows"
    found = sorted(spans(rows).items(), key=lambda one: (str(one[0][0]), one[0][1] or 0))
    named = [
        f"{topic}[{partition}] {_number(first)}" + (f"..{_number(last)}" if last != first else "")
        for (topic, partition), (first, last) in found[:3]
    ]
    return ", ".join(named) + (f" and {len(found) - 3} more" if len(found) > 3 else "")


def _number(position: str) -> str:
    """A position without its leading zeros."""
    return position.lstrip("0") or "0"


def in_source_order(rows: pa.Table) -> pa.Table:
    """Rows sorted by topic, partition and position: a sink may then be given them part by part."""
    order = [(name, "ascending") for name in ("topic", "partition", "position")]
    return rows.take(pc.sort_indices(rows, sort_keys=order))
