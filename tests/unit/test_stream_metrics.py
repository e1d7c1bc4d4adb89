"""Metrics of the streams, from the reports of Spark, the sinks and the brokers; no JVM."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from conf.exporter import served
from streaming.lake.maintenance.metrics import MaintenanceMetrics
from streaming.lake.maintenance.run import Done
from streaming.runtime.lag import LagWatch
from streaming.runtime.listener import ProgressListener, read_progress
from streaming.runtime.metrics import LABELS, Progress, StreamMetrics
from streaming.sources.log import Log, Offsets
from streaming.sources.memory import MemoryBroker, MemoryLog
from streaming.sources.options import Subscription
from streaming.sources.pulsar import entries_behind, pack
from tests.conftest import free_ports

pytestmark = pytest.mark.requirement("M1")

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def progress_event(**changes: Any) -> str:
    """Spark 4.1's progress event of a batch of footfall, without the metrics that nobody reads."""
    progress: dict[str, Any] = {
        "name": "footfall",
        "timestamp": "2026-11-22T21:22:54.405Z",
        "batchId": 1,
        "batchDuration": 18271,
        "numInputRows": 2,
        "observedMetrics": {"read": {"rows": 30}},
        "inputRowsPerSecond": 103.4,
        "processedRowsPerSecond": 0.2,
        "durationMs": {
            "addBatch": 9156,
            "commitOffsets": 122,
            "getBatch": 0,
            "latestOffset": 7409,
            "queryPlanning": 1414,
            "triggerExecution": 18269,
            "walCommit": 146,
        },
        "stateOperators": [
            {
                "operatorName": "transformWithStateInPySparkExec",
                "numRowsTotal": 2,
                "memoryUsedBytes": 7060,
                "numRowsDroppedByWatermark": 0,
                "customMetrics": {"rocksdbSstFileSize": 1562},
            }
        ],
        "sources": [
            {
                "description": "PythonMicroBatchStream@76ea403d",
                "startOffset": {"detections": {"0": 5, "1": 0}},
                "endOffset": {"detections": {"0": 8, "1": 0}},
                "latestOffset": {"detections": {"0": 8, "1": 0}},
            }
        ],
    }
    return json.dumps(progress | changes)


def progress(**changes: Any) -> Progress:
    fields: dict[str, Any] = {
        "rows": 10,
        "input_rate": 5.0,
        "processed_rate": 20.0,
        "seconds": 0.5,
        "phases": {"addBatch": 0.4, "walCommit": 0.05},
    }
    return Progress(**fields | changes)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"storelake_{name}", labels)


def test_the_progress_of_spark_is_read_with_its_phases_state_and_offsets() -> None:
    name, seen, ends = read_progress(progress_event())

    assert name == "footfall"
    assert (seen.rows, seen.seconds, seen.state_rows, seen.state_bytes) == (30, 18.269, 2, 8622)
    assert (seen.input_rate, seen.processed_rate) == (1551.0, 3.0)
    assert seen.phases["latestOffset"] == 7.409
    assert "triggerExecution" not in seen.phases
    assert ends == [{("detections", 0): 8, ("detections", 1): 0}]


def test_a_query_without_state_has_no_series_of_state_and_rates_may_be_missing() -> None:
    document = json.loads(progress_event(stateOperators=[]))
    del document["inputRowsPerSecond"], document["processedRowsPerSecond"]
    _, seen, _ = read_progress(json.dumps(document))
    metrics = StreamMetrics(["bronze"])
    metrics.progressed(["bronze"], seen)

    assert value(metrics.registry, "stream_state_rows", stream="bronze") is None
    assert value(metrics.registry, "stream_input_rows_per_second", stream="bronze") == 0


@pytest.mark.parametrize(
    ("watermark", "moment"),
    [
        ("2024-05-01T12:00:00.000Z", NOON),
        ("1970-01-01T00:00:00.000Z", None),  # before the first event
    ],
)
def test_the_watermark_of_a_query_is_read_once_there_is_one(
    watermark: str, moment: datetime | None
) -> None:
    assert read_progress(progress_event(eventTime={"watermark": watermark}))[1].watermark == moment


def test_an_event_that_nobody_understands_costs_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[str] = []
    listener = ProgressListener(lambda name, *_: seen.append(name))
    listener.take("{}")
    listener.take(progress_event())

    assert "could not be read" in caplog.text
    assert seen == ["footfall"]


def test_series_are_there_before_the_first_batch() -> None:
    metrics = StreamMetrics(["orders", "store_hourly"], settling=["store_hourly"])

    for name in ("batches_total", "input_rows_total", "dead_letters_total", "failures_total"):
        assert value(metrics.registry, f"stream_{name}", stream="orders") == 0
    assert value(metrics.registry, "stream_up", stream="store_hourly") == 0
    assert value(metrics.registry, "stream_last_batch_timestamp_seconds", stream="orders") is None
    assert value(metrics.registry, "stream_last_settled_timestamp_seconds", stream="store_hourly")


def test_every_stream_of_a_query_has_its_batches_rows_and_seconds() -> None:
    metrics = StreamMetrics(["a", "b", "c"])
    for _ in range(2):
        metrics.progressed(["a", "b"], progress(watermark=NOON, late_rows=1))
    seen = metrics.registry

    for stream in ("a", "b"):
        assert value(seen, "stream_batches_total", stream=stream) == 2
        assert value(seen, "stream_input_rows_total", stream=stream) == 20
        assert value(seen, "stream_batch_seconds_sum", stream=stream) == 1.0
        assert value(seen, "stream_phase_seconds_total", stream=stream, phase="addBatch") == 0.8
        assert value(seen, "stream_late_rows_total", stream=stream) == 2
        watermark = value(seen, "stream_watermark_timestamp_seconds", stream=stream)
        assert watermark == NOON.timestamp()
        assert value(seen, "stream_last_batch_timestamp_seconds", stream=stream)
    assert value(seen, "stream_batches_total", stream="c") == 0


def test_sinks_count_what_became_of_their_rows() -> None:
    metrics = StreamMetrics(["orders"])
    metrics.dead_letters("orders", 3)
    metrics.late("orders", 2)
    metrics.skipped("orders", "postgres", 7)
    metrics.watermark("orders", None)
    metrics.watermark("orders", NOON)
    metrics.wrote("orders", 0.25, latency=1.2)
    metrics.wrote("orders", 0.25, latency=None)  # a batch without rows
    metrics.failed(["orders"])
    seen = metrics.registry

    assert value(seen, "stream_dead_letters_total", stream="orders") == 3
    assert value(seen, "stream_late_rows_total", stream="orders") == 2
    assert value(seen, "stream_skipped_rows_total", stream="orders", sink="postgres") == 7
    assert value(seen, "stream_watermark_timestamp_seconds", stream="orders") == NOON.timestamp()
    assert value(seen, "stream_sink_seconds_total", stream="orders") == 0.5
    assert value(seen, "stream_latency_seconds_count", stream="orders") == 1
    assert value(seen, "stream_failures_total", stream="orders") == 1


def test_a_camera_that_invents_labels_has_a_bounded_number_of_series() -> None:
    metrics = StreamMetrics(["silver_detections"])
    for number in range(100):
        metrics.objects("silver_detections", "B01-till", f"label {number}", 2)
    metrics.objects("silver_detections", "B01-till", "person", 3)
    series = {"stream": "silver_detections", "camera": "B01-till"}
    seen = metrics.registry
    assert value(seen, "stream_objects_total", **series, label="person") == 3
    assert value(seen, "stream_objects_total", **series, label="label 0") == 2
    assert value(seen, "stream_objects_total", **series, label="(other)") == 2 * (101 - LABELS)


class Shop:
    """Two topics of a memory broker, and what is watched of them."""

    def __init__(self, folder: Path) -> None:
        self.broker = MemoryBroker(folder)
        for topic in ("orders", "other"):
            self.broker.create_topic(topic, 2)
        self.metrics = StreamMetrics(["bronze", "silver"])
        self.watch = LagWatch(self.metrics, self.open_log)
        self.opened: list[Sequence[str]] = []

    def moved(self, end: Offsets, streams: Sequence[str] = ("bronze", "silver")) -> None:
        self.watch.moved("+".join(streams), streams, ["memory"], [end])

    def open_log(self, broker: str, topics: Sequence[str]) -> Log:
        assert broker == "memory"
        self.opened.append(topics)
        return MemoryLog(self.broker.path, Subscription(tuple(topics)))

    def fill(self, count: int, partition: int = 0) -> None:
        for _ in range(count):
            self.broker.produce("orders", b"{}", partition=partition, timestamp=NOON)

    def lag(self, stream: str) -> float | None:
        return value(self.metrics.registry, "stream_lag_rows", stream=stream, broker="memory")

    def up(self) -> float | None:
        return value(self.metrics.registry, "stream_broker_up", broker="memory")


def test_the_lag_is_what_the_broker_holds_behind_the_newest_batch(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.fill(5)
    shop.fill(2, partition=1)
    shop.watch.look()
    assert shop.lag("bronze") is None  # the position of the query is unknown
    assert shop.up() is None

    shop.moved({("orders", 0): 3, ("orders", 1): 0})
    shop.watch.look()
    assert (shop.lag("bronze"), shop.lag("silver"), shop.up()) == (4, 4, 1)

    shop.moved({("orders", 0): 5, ("orders", 1): 2})
    shop.watch.look()
    assert shop.lag("silver") == 0
    assert shop.opened == [["orders"]]  # one connection, kept


def test_a_broker_that_does_not_answer_leaves_the_lag_and_is_reported(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.fill(5)
    shop.moved({("orders", 0): 3, ("orders", 1): 0})
    shop.watch.look()
    away = tmp_path.with_name("away")
    tmp_path.rename(away)
    shop.watch.look()
    assert (shop.lag("bronze"), shop.up()) == (2, 0)

    away.rename(tmp_path)
    shop.fill(1)
    shop.watch.look()
    assert (shop.lag("bronze"), shop.up()) == (3, 1)


def test_of_a_query_that_was_split_each_part_has_a_lag_of_its_own(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.fill(5)
    shop.moved({("orders", 0): 3, ("orders", 1): 0})
    shop.moved({("orders", 0): 5, ("orders", 1): 0}, ["silver"])
    shop.moved({("orders", 0): 4, ("orders", 1): 0}, ["bronze"])
    shop.watch.look()

    assert (shop.lag("bronze"), shop.lag("silver")) == (1, 0)


def test_deleted_messages_are_behind_nobody(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.fill(5)
    shop.broker.trim("orders", 0, 4)
    shop.moved({("orders", 0): 1})
    shop.watch.look()

    assert shop.lag("bronze") == 1


@pytest.mark.parametrize(
    ("offset", "entries"),
    [
        (0, 10),  # before everything
        (pack(7, 0, 0), 10),
        (pack(7, 1, 0), 9),  # in front of the second entry
        (pack(7, 1, 0) + 1, 8),  # behind its first message
        (pack(7, 3, 10**6 - 1), 6),  # behind an entry whose messages nobody counted
        (pack(9, 5, 1), 0),
        (pack(12, 0, 0), 0),
    ],
)
def test_of_pulsar_the_entries_behind_are_counted_by_ledger(offset: int, entries: int) -> None:
    assert entries_behind([(7, 4), (9, 6)], offset) == entries


def test_maintenance_reports_what_it_did_and_which_table_it_could_not_do() -> None:
    metrics = MaintenanceMetrics(timedelta(minutes=10))
    good = Done("silver.orders", "done", files_before=9, files_after=2, compacted=8, seconds=1.5)
    bad = Done("gold.order_hourly", "failed", seconds=0.5)
    metrics.update(NOON, [good, bad, Done("gold.none", "gone")])
    metrics.update(NOON + timedelta(minutes=10), [good])
    seen = metrics.registry

    assert value(seen, "maintenance_interval_seconds") == 600
    at = NOON.timestamp() + 600
    assert value(seen, "maintenance_last_run_timestamp_seconds") == at
    assert value(seen, "maintenance_run_seconds") == 1.5
    assert value(seen, "maintenance_joined_files_total", table="silver.orders") == 16
    assert value(seen, "maintenance_table_files", table="silver.orders") == 2
    assert value(seen, "maintenance_table_failed", table="silver.orders") == 0
    assert value(seen, "maintenance_table_failed", table="gold.order_hourly") == 1
    assert value(seen, "maintenance_table_files", table="gold.none") is None


def test_metrics_are_served_on_loopback_and_a_taken_port_costs_only_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (port,) = free_ports(1)
    registry = StreamMetrics(["orders"]).registry
    with served(registry, "127.0.0.1", port, "STORELAKE_STREAMS__METRICS_PORT"):
        page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'storelake_stream_up{stream="orders"} 0.0' in page
        with served(registry, "127.0.0.1", port, "STORELAKE_STREAMS__METRICS_PORT"):
            assert f"port {port} of 127.0.0.1 cannot be opened" in caplog.text
            assert "STORELAKE_STREAMS__METRICS_PORT" in caplog.text
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")
    with served(registry, "127.0.0.1", 0, "STORELAKE_STREAMS__METRICS_PORT"):
        pass  # nothing is opened
