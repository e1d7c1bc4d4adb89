"""Metrics of real streams: rows, lag, state, dead letters, late rows, repeats."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conf.exporter import served
from conf.traces import Trace
from streaming.jobs import find_streams
from streaming.runtime import lag
from streaming.runtime.runner import Runner
from tests.conftest import free_ports
from tests.stream.sandbox import NOW, Sandbox, later
from tests.support.builders import as_json, detection_event, order_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("M1")]

IN_POSTGRES = ("order_event_processor", "real_time_metrics")
ORDERS = (*IN_POSTGRES, "bronze_order_events")
T10 = "2024-05-01T10:00:00Z"
DEADLINE_SECONDS = 240.0

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Scrapes:
    """The page of metrics while the streams run."""

    client: httpx.Client
    newest: Figures

    def look(self) -> None:
        page = self.client.get("/metrics").text
        self.newest = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def of(self, name: str, **labels: str) -> float | None:
        return self.newest.get((f"storelake_stream_{name}", frozenset(labels.items())))


def run(sandbox: Sandbox, names: tuple[str, ...], done: Callable[[Scrapes], bool]) -> Scrapes:
    """Run streams until the page of metrics fulfils a condition."""
    runner = Runner(sandbox.settings, find_streams(names))
    (port,) = free_ports(1)
    end = time.monotonic() + DEADLINE_SECONDS
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}")
    seen = Scrapes(client, {})

    def until() -> bool:
        if time.monotonic() > end:
            pytest.fail(f"the metrics did not fulfil the condition; the last: {seen.newest}")
        seen.look()
        return done(seen)

    with client, served(runner.metrics.registry, "127.0.0.1", port, "none"):
        runner.run(until)
    return seen


@pytest.fixture(scope="module")
def watched(sandbox: Sandbox) -> Sandbox:
    """With the metrics endpoint, and so with queries of the lag."""
    streams = sandbox.settings.streams.model_copy(update={"metrics_port": 1, "retries": 20})
    sandbox.settings = sandbox.settings.model_copy(update={"streams": streams})
    return sandbox


def test_the_page_reports_what_the_streams_did_and_a_repeated_batch_is_skipped(
    watched: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lag, "LOOK_SECONDS", 0.2)
    watched.send_order(
        *(order_event(order_id=f"O-{n}", event_time=later(T10, n)) for n in range(4))
    )
    watched.send_raw("order-created", b"{not json")
    watched.send_frame(*(detection_event(frame_index=n) for n in range(3)))

    def everything(seen: Scrapes) -> bool:
        rows = {name: seen.of("input_rows_total", stream=name) for name in (*ORDERS, "footfall")}
        lags = {seen.of("lag_rows", stream=name, broker="memory") for name in rows}
        ups = {seen.of("up", stream=name) for name in rows}  # set after the rows are counted
        done = rows == {**dict.fromkeys(ORDERS, 6.0), "footfall": 3.0}
        return done and lags == {0.0} and ups == {1.0}

    trace = Trace.begin().header
    value = as_json(order_event(order_id="O-traced", event_time=T10))
    headers = [("traceparent", trace.encode())]
    watched.broker.produce("order-created", value, b"O-traced", timestamp=NOW, headers=headers)
    first = run(watched, (*ORDERS, "footfall"), everything)

    for stream in ORDERS:
        batches = first.of("batches_total", stream=stream)
        assert batches
        assert first.of("batch_seconds_count", stream=stream) == batches
        assert first.of("phase_seconds_total", stream=stream, phase="addBatch")
        assert first.of("sink_seconds_total", stream=stream)
        assert first.of("latency_seconds_count", stream=stream)
        assert first.of("last_batch_timestamp_seconds", stream=stream)
    assert first.of("dead_letters_total", stream="order_event_processor") == 1
    assert first.of("late_rows_total", stream="real_time_metrics") == 0
    assert first.of("watermark_timestamp_seconds", stream="real_time_metrics")
    assert first.of("last_settled_timestamp_seconds", stream="real_time_metrics")
    assert first.of("state_rows", stream="footfall")
    assert first.of("state_bytes", stream="footfall")
    assert first.of("broker_up", broker="memory") == 1

    bronze = watched.lake("bronze.order_events")
    (traced,) = [row["headers"] for row in bronze if row["key"] == b"O-traced"]
    assert traced == [{"key": "traceparent", "value": trace.encode()}]

    watched.lose_newest_commit(*ORDERS)
    early = later(T10, -4 * 3600)  # its hour ended at 07:00, and the watermark is at 09:55
    watched.send_order(order_event(order_id="O-late", event_time=early, created_at=early))
    again = run(watched, ORDERS, lambda seen: seen.of("late_rows_total", stream=ORDERS[1]) == 1)

    for stream in IN_POSTGRES:
        assert again.of("skipped_rows_total", stream=stream, sink="postgres")
    assert again.of("skipped_rows_total", stream=ORDERS[0], sink="silver.orders")
    assert again.of("dead_letters_total", stream=ORDERS[0]) == 0  # it was counted when it came
