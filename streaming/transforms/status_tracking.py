"""Runs `order_status` in Spark: source rows in, rows of the status history out.

Three steps of a plan: parse, validate and pack (`to_packs`), the state of a bucket (`process`), and
columns (`unpack`). A row costs a transfer between Python and the JVM on each way, so there are few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, Row
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from streaming.arrow import Transform, in_arrow
from streaming.source import unpacked
from streaming.transforms.order_buckets import OrderBucket
from streaming.transforms.order_status import StatusMachine, StatusRules
from streaming.transforms.status_packs import (
    STATUS_SCHEMA,
    TrackingOptions,
    decode_orders,
    decode_pack,
    encode,
    process,
    to_packs,
    unpack,
)


def track_status(
    validated: Callable[[pa.Table], pa.Table], options: TrackingOptions, restored: DataFrame
) -> Transform:
    """Packed source rows -> rows of `STATUS_SCHEMA`.

    Args:
        validated: source rows -> rows of `SILVER_SCHEMA`.
        options: limits and start.
        restored: rows of `RESTORED_SCHEMA`: the state with which a new checkpoint starts.
    """

    def pack(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        tables = map(unpacked, batches)
        yield from to_packs(tables, validated, options, datetime.now(timezone.utc)).to_batches()

    def apply(rows: DataFrame) -> DataFrame:
        packs = rows.mapInArrow(pack, "bucket int, pack binary").groupBy("bucket")
        tracked = packs.transformWithState(
            statefulProcessor=TrackStatus(options.rules, options.start.watermark),
            outputStructType="output binary",
            outputMode="update",
            timeMode="None",
            initialState=restored.groupBy("bucket"),
        )
        return tracked.transform(in_arrow(unpack, STATUS_SCHEMA))

    return apply


class TrackStatus(StatefulProcessor):
    """Keyed by bucket; rows of `PACK_SCHEMA` in, one `BucketOutput` out.

    State: the slots of the bucket and their index (`order_buckets`). It deletes orders by itself
    and has no timers of Spark, whose event-time mode drops late rows.

    Args:
        rules: of the state machine.
        watermark: that the sink had committed when the query started.
    """

    def __init__(self, rules: StatusRules, watermark: int) -> None:
        self._machine, self._watermark = StatusMachine(rules), watermark

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Open the state; Spark calls this once per partition."""
        self._slots = handle.getMapState("slots", "slot int", "orders binary")
        self._index = handle.getValueState("index", "index binary")

    def handleInitialState(self, key: Any, initialState: Any, timerValues: Any) -> None:  # noqa: ARG002, N802, N803
        """Keep restored orders; Spark calls this in the first batch of a checkpoint."""
        bucket = self._bucket()
        bucket.restore(decode_orders(bytes(initialState.orders)))
        self._save(bucket)

    def handleInputRows(self, key: Any, rows: Iterator[Any], timerValues: Any) -> Iterator[Row]:  # noqa: ARG002, N802, N803
        """Apply the messages of a batch, and its clock."""
        bucket = self._bucket()
        output = process([decode_pack(bytes(row.pack)) for row in rows], bucket, self._watermark)
        self._save(bucket)
        yield Row(output=encode(output))

    def close(self) -> None:
        """Nothing to close."""

    def get(self, slot: int) -> bytes | None:
        """`SlotStore` of the bucket whose rows Spark passes."""
        value = self._slots.getValue((slot,))
        return bytes(value[0]) if value else None

    def put(self, slot: int, value: bytes | None) -> None:
        """`SlotStore` of the bucket whose rows Spark passes."""
        if value is None:
            self._slots.removeKey((slot,))
        else:
            self._slots.updateValue((slot,), (value,))

    def _bucket(self) -> OrderBucket:
        index = self._index.get()
        return OrderBucket(self._machine, self, bytes(index[0]) if index else None)

    def _save(self, bucket: OrderBucket) -> None:
        index = bucket.save()
        if index is not None:
            self._index.update((index,))
