"""The log of a failed stream: its innermost cause, and whether the data is at fault."""

from __future__ import annotations

import psycopg
import pyarrow as pa
import pytest
from psycopg import errors

from conf.errors import StorelakeError
from streaming.runtime.failures import (
    SinkError,
    cause_in_text,
    in_source_order,
    is_data_error,
    root_cause,
    span,
)

SOURCE_FAILED = """\
[STREAM_FAILED] Query [id = 35e5df3f-d9ad-4556, runId = 042909ad] terminated with exception: \
[PYTHON_STREAMING_DATA_SOURCE_RUNTIME_ERROR] Failed when Python streaming data source perform \
planPartitions: Traceback (most recent call last):
  File "pyspark/sql/worker/python_streaming_source_runner.py", line 231, in main
    latest_offset_func(reader, outfile)
  File "streaming/sources/log.py", line 401, in latestOffset
    raise lost(partition)
streaming.sources.log.DataLossError: order-created[0]: the stream stands at offset 7
 SQLSTATE: 38000 SQLSTATE: XXKST
=== Streaming Query ===
Identifier: bronze [id = 35e5df3f-d9ad-4556, runId = 042909ad]
Current Committed Offsets: {}
Current State: ACTIVE
Thread State: RUNNABLE

Logical Plan:
ReplaceData catalog.Error: x
+- LocalRelation <empty>, [key#0, value#1]
"""
TASK_FAILED = """\
Job aborted due to stage failure: Task 0 in stage 5.0 failed 1 times
\tat org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:2898)
Caused by: org.apache.spark.api.python.PythonException: Traceback (most recent call last):
  File "streaming/transforms/footfall.py", line 12, in handleInputRows
KeyError: 'visits'

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(P.scala:581)
"""


def positions(*numbers: int, topic: str = "order-created", partition: int = 0) -> pa.Table:
    count = len(numbers)
    return pa.table(
        {
            "topic": [topic] * count,
            "partition": pa.array([partition] * count, pa.int32()),
            "position": [f"{n:020d}" for n in numbers],
        }
    )


def raised(inner: Exception, outer: Exception) -> Exception:
    try:
        raise outer from inner
    except Exception as error:
        return error


def test_the_innermost_of_chained_errors_is_the_cause() -> None:
    error = raised(OSError("No space left on device"), RuntimeError("could not write the batch"))
    assert root_cause(error) == "OSError: No space left on device"


def test_a_sentence_of_our_own_is_reported_without_its_class() -> None:
    assert root_cause(StorelakeError("The lake is away.")) == "The lake is away."


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (
            SOURCE_FAILED,
            (
                "streaming.sources.log.DataLossError: "
                "order-created[0]: the stream stands at offset 7"
            ),
        ),
        (TASK_FAILED, "KeyError: 'visits'"),
        ("it ended without an error", "it ended without an error"),
        ("", "no message"),
    ],
)
def test_of_a_text_of_spark_the_cause_is_left_and_no_plan(text: str, cause: str) -> None:
    assert cause_in_text(text) == cause


def test_the_error_of_a_batch_names_streams_and_positions() -> None:
    rows = pa.concat_tables([positions(7, 3, 9), positions(4, topic="order-updated", partition=2)])
    error = SinkError({"footfall": raised(ValueError("x"), OSError("y"))}, span(rows))
    assert root_cause(error) == (
        "footfall: ValueError: x (batch of order-created[0] 3..9, order-updated[2] 4)"
    )


def test_many_partitions_are_counted_and_an_empty_batch_is_named() -> None:
    rows = pa.concat_tables([positions(1, partition=n) for n in range(5)])
    assert span(rows).endswith(" and 2 more")
    assert span(rows.slice(0, 0)) == "no rows"


def test_rows_are_given_to_a_sink_in_the_order_of_their_source() -> None:
    rows = pa.concat_tables([positions(5, 2, partition=1), positions(9, 1)])
    found = in_source_order(rows).to_pylist()
    assert [(r["partition"], int(r["position"])) for r in found] == [(0, 1), (0, 9), (1, 2), (1, 5)]


@pytest.mark.parametrize(
    "error",
    [
        errors.CardinalityViolation(
            "ON CONFLICT DO UPDATE command cannot affect row a second time"
        ),
        errors.NumericValueOutOfRange("numeric field overflow"),
        errors.CheckViolation("total_price >= 0"),
        errors.UntranslatableCharacter("unsupported Unicode escape sequence"),
        errors.ProgramLimitExceeded("index row size 2720 exceeds btree maximum 2704"),
        psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"),
        pa.ArrowInvalid("Integer value 300 not in range"),
        OverflowError("date value out of range"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_values_that_a_sink_cannot_hold_are_the_fault_of_the_data(error: Exception) -> None:
    assert is_data_error(error)


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("server closed the connection unexpectedly"),
        errors.DeadlockDetected("deadlock detected"),
        errors.LockNotAvailable("canceling statement due to lock timeout"),
        errors.QueryCanceled("canceling statement due to statement timeout"),
        errors.DiskFull("could not extend file"),
        errors.UndefinedColumn("column payload does not exist"),
        errors.InsufficientPrivilege("permission denied for table orders_raw"),
        OSError("No space left on device"),
        ValueError("a bug"),
        KeyError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_no_fault_of_the_data_puts_no_row_aside(error: Exception) -> None:
    assert not is_data_error(error)
