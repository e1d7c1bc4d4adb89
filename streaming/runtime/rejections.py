"""Data never stops a stream: a batch that a sink rejects is halved until the bad rows are found.

Where a sink fails because of the values in its rows (`failures.is_data_error`), the same rows would
fail for ever. So the batch is written in halves, in the order of the source; a single message that
the sink rejects is written to `refused_rows` with the class of the error, and, where the stream
keeps rejected messages, to its quarantine under the rule `refused_by_sink`; the stream continues.
An infrastructure error ends the attempt: Spark repeats the whole batch, and rows written by then
are skipped by their positions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa

from streaming.runtime.failures import in_source_order, is_data_error, root_cause, span
from streaming.sinks.refused_rows import write_refused
from streaming.stream import Batch
from streaming.validation.rules import REFUSED

log = logging.getLogger("storelake.streams")

Sink = Callable[[Batch], None]
POSITION = ("topic", "partition", "position")


def write_all(sink: Sink, batch: Batch, *, keeps_rejected: bool) -> None:
    """Write a batch; rows that the sink refuses because of their data go to quarantine.

    Args:
        sink: of the stream; it skips rows that it has already written.
        batch: one micro-batch.
        keeps_rejected: whether the sink keeps rejected messages: refused ones become such.

    Raises:
        Exception: what the sink raised, when the data is not at fault.
    """
    try:
        sink(batch)
    except Exception as error:
        if not is_data_error(error) or not batch.rows.num_rows:
            raise
        log.warning(
            "%s refuses a batch of %s: %s", batch.stream, span(batch.rows), root_cause(error)
        )
        _write_halves(sink, replace(batch, rows=in_source_order(batch.rows)), error, keeps_rejected)


def _write_halves(sink: Sink, batch: Batch, error: Exception, keeps_rejected: bool) -> None:
    """Write a refused batch half by half; a batch of one position is refused for good.

    Rows of one position stay together: a sink skips what it has committed up to a position.
    """
    positions = list(zip(*(batch.rows[name].to_pylist() for name in POSITION), strict=True))
    starts = [n for n in range(1, len(positions)) if positions[n] != positions[n - 1]]
    if not starts:
        _refuse(sink, batch, error, keeps_rejected)
        return
    middle = starts[len(starts) // 2]
    for part in (batch.rows.slice(0, middle), batch.rows.slice(middle)):
        half = replace(batch, rows=part)
        try:
            sink(half)
        except Exception as inner:
            if not is_data_error(inner):
                raise
            _write_halves(sink, half, inner, keeps_rejected)


def _refuse(sink: Sink, batch: Batch, error: Exception, keeps_rejected: bool) -> None:
    """Put one message into `refused_rows`, and into the quarantine of its stream if it has one."""
    log.error("%s refuses %s: %s", batch.stream, span(batch.rows), root_cause(error))
    with batch.db.writing(batch.stream) as connection:
        write_refused(connection, batch.stream, batch.rows, error, root_cause(error))
    batch.metrics.refused(batch.stream, 1)
    if keeps_rejected:
        try:
            sink(replace(batch, rows=_rejected(batch.rows)))
        except Exception as inner:
            if not is_data_error(inner):
                raise


def _rejected(rows: pa.Table) -> pa.Table:
    """Parsed rows with one more failed rule."""
    at = rows.schema.get_field_index("rules")
    rules = [[*(failed or []), REFUSED] for failed in rows["rules"].to_pylist()]
    return rows.set_column(at, "rules", pa.array(rules, rows.schema.field(at).type))
