"""The dashboards of Grafana, as data: `storelake docs` writes them to infra/grafana/dashboards.

Grafana reads them as they are there (infra/grafana/provisioning), and nobody edits them in it. A
question is PromQL; what it asks for is in docs/METRICS.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FOLDER = "infra/grafana/dashboards"
DATASOURCE = {"type": "prometheus", "uid": "storelake-prometheus"}
COLUMNS, HEIGHT = 24, 8


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        title: what it shows.
        questions: (PromQL, legend) of each line.
        unit: of the values, by Grafana's names.
        kind: `timeseries`; `stat` is one number a series.
        says: how to read it.
        width: of 24.
        limits: where the colour turns to orange and to red, for `stat`.
    """

    title: str
    questions: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "timeseries"
    says: str = ""
    width: int = 8
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Dashboard:
    """One page."""

    name: str
    title: str
    panels: Sequence[Panel]


def _rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))"


def _per_batch(seconds: str, by: str) -> str:
    return f"{_rate(seconds, by)} / on (stream) group_left () ({_rate(BATCHES, 'stream')} > 0)"


def _p95(metric: str, by: str = "", where: str = "") -> str:
    """The 95th percentile of a histogram."""
    buckets = _rate(f"{metric}_bucket", f"{by}, le" if by else "le", where)
    return f"histogram_quantile(0.95, {buckets})"


def _age(metric: str) -> str:
    return f"time() - {metric}"


def _share(part: str, whole: str) -> str:
    """One rate over another; 0 while nothing comes at all."""
    of, among = _rate(part, "stream"), _rate(whole, "stream")
    return f"{of} / ({among} > 0) or 0 * {among}"


STREAM = "storelake_stream_"
BATCHES = f"{STREAM}batches_total"
CAMERA = "storelake_inference_"
GATEWAY = "storelake_gateway_"
QUALITY = "storelake_quality_"
UPKEEP = "storelake_maintenance_"
ORDER_STREAMS = (
    '{stream=~"order_event_processor|order_status_tracker|real_time_metrics|product_analytics'
    '|bronze_order_events"}'
)
CAMERA_STREAMS = '{stream=~"footfall|silver_detections|bronze_detections"}'

PIPELINE = Dashboard(
    "pipeline",
    "storelake: pipeline",
    [
        Panel("Processes", [("up", "{{job}}")], kind="stat", says="1 answers, 0 does not."),
        Panel("Streams", [(f"{STREAM}up", "{{stream}}")], kind="stat", says="1 runs.", width=10),
        Panel("Brokers", [(f"{STREAM}broker_up", "{{broker}}")], kind="stat", width=6),
        Panel(
            "States of streams",
            [(f"{STREAM}state == 1", "{{stream}} {{state}}")],
            kind="stat",
            says="The state that each stream is in; `storelake status` has the cause of a bad one.",
            width=24,
        ),
        Panel(
            "Lag",
            [(f"{STREAM}lag_rows", "{{stream}} {{broker}}")],
            says="Messages behind the end of the topics; of Pulsar entries, which hold some.",
        ),
        Panel(
            "Latency, p95",
            [(_p95(f"{STREAM}latency_seconds", "stream"), "{{stream}}")],
            unit="s",
            says="From the broker's timestamp (of frames: their capture) to the end of the sink.",
        ),
        Panel(
            "Since the last batch",
            [(_age(f"{STREAM}last_batch_timestamp_seconds"), "{{stream}}")],
            unit="s",
            says="Rises while nothing comes, too: compare it with the lag.",
        ),
        Panel(
            "Rows read", [(_rate(f"{STREAM}input_rows_total", "stream"), "{{stream}}")], "rowsps"
        ),
        Panel(
            "Rows a second that it could do",
            [(f"{STREAM}processed_rows_per_second", "{{stream}}")],
            "rowsps",
            says="Rows of the newest batch by its own time: far above what comes, there is room.",
        ),
        Panel(
            "Rows a second that came",
            [(f"{STREAM}input_rows_per_second", "{{stream}}")],
            "rowsps",
        ),
        Panel("Batch, p95", [(_p95(f"{STREAM}batch_seconds", "stream"), "{{stream}}")], "s"),
        Panel(
            "Where a batch spends its time",
            [(_per_batch(f"{STREAM}phase_seconds_total", "stream, phase"), "{{stream}} {{phase}}")],
            "s",
            says="Seconds a batch; addBatch has the sinks, latestOffset the broker.",
        ),
        Panel(
            "Time of the sinks",
            [(_per_batch(f"{STREAM}sink_seconds_total", "stream"), "{{stream}}")],
            "s",
        ),
        Panel("State, bytes", [(f"{STREAM}state_bytes", "{{stream}}")], "bytes"),
        Panel("State, rows", [(f"{STREAM}state_rows", "{{stream}}")]),
        Panel(
            "Watermark behind now",
            [(_age(f"{STREAM}watermark_timestamp_seconds"), "{{stream}}")],
            "s",
        ),
        Panel("Failures, retried", [(f"increase({STREAM}failures_total[1h])", "{{stream}}")]),
        Panel(
            "Rows skipped, since they were there",
            [(_rate(f"{STREAM}skipped_rows_total", "stream, sink"), "{{stream}} {{sink}}")],
            says="Batches that came again: after a crash some, otherwise none.",
        ),
        Panel(
            "Since it settled",
            [(_age(f"{STREAM}last_settled_timestamp_seconds"), "{{stream}}")],
            "s",
            says="Copies of gold tables, and the conversion rate.",
        ),
        Panel("Memory", [("process_resident_memory_bytes", "{{job}}")], "bytes"),
        Panel(
            "CPU", [("rate(process_cpu_seconds_total[$__rate_interval])", "{{job}}")], "percentunit"
        ),
    ],
)

ORDERS = Dashboard(
    "orders",
    "storelake: orders",
    [
        Panel(
            "Events accepted",
            [(_rate(f"{GATEWAY}events_total", "topic", '{outcome="accepted"}'), "{{topic}}")],
            "cps",
        ),
        Panel(
            "Events by what became of them",
            [(_rate(f"{GATEWAY}events_total", "outcome"), "{{outcome}}")],
            "cps",
            says="accepted, repeated, or the name of the refusal.",
        ),
        Panel(
            "Bytes accepted",
            [(_rate(f"{GATEWAY}event_bytes_total", "topic"), "{{topic}}")],
            "Bps",
        ),
        Panel("Requests", [(_rate(f"{GATEWAY}requests_total", "status"), "{{status}}")], "reqps"),
        Panel("Requests under way", [(f"{GATEWAY}requests_in_flight", "in flight")]),
        Panel(
            "Answer, p95",
            [(_p95(f"{GATEWAY}request_seconds", "route"), "{{route}}")],
            "s",
        ),
        Panel("Acknowledgement of Kafka, p95", [(_p95(f"{GATEWAY}ack_seconds"), "Kafka")], "s"),
        Panel(
            "Rows read by the streams",
            [(_rate(f"{STREAM}input_rows_total", "stream", ORDER_STREAMS), "{{stream}}")],
            "rowsps",
        ),
        Panel("Lag", [(f"{STREAM}lag_rows{ORDER_STREAMS}", "{{stream}}")]),
        Panel(
            "Dead letters",
            [(_rate(f"{STREAM}dead_letters_total", "stream", ORDER_STREAMS), "{{stream}}")],
            "cps",
            says="`storelake dlq list` shows them.",
        ),
        Panel(
            "Rows that a sink could not hold",
            [(_rate(f"{STREAM}refused_rows_total", "stream", ORDER_STREAMS), "{{stream}}")],
            "cps",
            says="The table `refused_rows` in Postgres has them, with the error.",
        ),
        Panel(
            "Events too late for their hour",
            [(_rate(f"{STREAM}late_rows_total", "stream", ORDER_STREAMS), "{{stream}}")],
            "cps",
            says="`storelake restate` applies them.",
        ),
        Panel(
            "Share of dead letters",
            [(_share(f"{STREAM}dead_letters_total", f"{STREAM}input_rows_total"), "{{stream}}")],
            "percentunit",
        ),
    ],
)

CAMERAS = Dashboard(
    "cameras",
    "storelake: cameras",
    [
        Panel("Cameras", [(f"{CAMERA}camera_up", "{{camera}}")], kind="stat", says="0 has ended."),
        Panel("Frames processed a second", [(f"{CAMERA}fps", "{{camera}}")], kind="stat"),
        Panel("Events on disk", [(f"{CAMERA}events_on_disk", "waiting")], kind="stat"),
        Panel(
            "Frames read", [(_rate(f"{CAMERA}frames_read_total", "camera"), "{{camera}}")], "cps"
        ),
        Panel(
            "Frames processed",
            [(_rate(f"{CAMERA}frames_processed_total", "camera"), "{{camera}}")],
            "cps",
        ),
        Panel(
            "Frames dropped",
            [
                (
                    _rate(f"{CAMERA}frames_dropped_total", "camera, reason"),
                    "{{camera}} {{reason}}",
                )
            ],
            "cps",
        ),
        Panel(
            "Stages of a frame, p95",
            [(_p95(f"{CAMERA}stage_seconds", "stage"), "{{stage}}")],
            "s",
        ),
        Panel("Frames waiting", [(f"{CAMERA}queue_frames", "{{camera}}")]),
        Panel("Sources opened again", [(f"increase({CAMERA}reconnects_total[1h])", "{{camera}}")]),
        Panel(
            "Events acknowledged",
            [(f"rate({CAMERA}events_acknowledged_total[$__rate_interval])", "acknowledged")],
            "cps",
        ),
        Panel(
            "Publishing",
            [
                (f"rate({CAMERA}publish_errors_total[$__rate_interval])", "errors"),
                (f"rate({CAMERA}publish_waits_total[$__rate_interval])", "waits for room"),
            ],
            "cps",
        ),
        Panel(
            "Frame to footfall, p95",
            [(_p95(f"{STREAM}latency_seconds", where='{stream="footfall"}'), "to Postgres")],
            "s",
        ),
        Panel("Lag", [(f"{STREAM}lag_rows{CAMERA_STREAMS}", "{{stream}} {{broker}}")]),
        Panel(
            "Frames too late for their track",
            [(_rate(f"{STREAM}late_rows_total", "stream", CAMERA_STREAMS), "{{stream}}")],
            "cps",
        ),
        Panel("Camera runs in state", [(f"{STREAM}state_rows{CAMERA_STREAMS}", "{{stream}}")]),
    ],
)

HEALTH = Dashboard(
    "quality",
    "storelake: quality and maintenance",
    [
        Panel(
            "Critical expectations not met",
            [(f'sum({QUALITY}failed_expectations{{severity="critical"}})', "critical")],
            kind="stat",
            limits=(1, 1),
        ),
        Panel(
            "Warnings",
            [(f'sum({QUALITY}failed_expectations{{severity="warning"}})', "warning")],
            kind="stat",
            limits=(1, 100),
        ),
        Panel(
            "Since the last validation",
            [(_age(f"{QUALITY}last_run_timestamp_seconds"), "validation")],
            "s",
            kind="stat",
        ),
        Panel("Expectations judged", [(f"{QUALITY}expectations", "{{table}}")]),
        Panel(
            "Not met",
            [(f"{QUALITY}failed_expectations", "{{table}} {{severity}}")],
            says="`storelake quality report` says which, since when, and shows rows.",
        ),
        Panel(
            "Time of a validation",
            [(f"{QUALITY}run_seconds", "run"), (f"{QUALITY}interval_seconds", "interval")],
            "s",
        ),
        Panel(
            "Share of dead letters",
            [(_share(f"{STREAM}dead_letters_total", f"{STREAM}input_rows_total"), "{{stream}}")],
            "percentunit",
        ),
        Panel(
            "Share of late rows",
            [(_share(f"{STREAM}late_rows_total", f"{STREAM}input_rows_total"), "{{stream}}")],
            "percentunit",
        ),
        Panel(
            "Since the last maintenance",
            [(_age(f"{UPKEEP}last_run_timestamp_seconds"), "maintenance")],
            "s",
            kind="stat",
        ),
        Panel("Data files", [(f"{UPKEEP}table_files", "{{table}}")]),
        Panel("Manifests", [(f"{UPKEEP}table_manifests", "{{table}}")]),
        Panel("Tables that could not be maintained", [(f"{UPKEEP}table_failed", "{{table}}")]),
        Panel(
            "Small files joined",
            [(f"increase({UPKEEP}joined_files_total[1h])", "{{table}}")],
            says="In the last hour.",
        ),
        Panel(
            "Removed",
            [
                (f"increase({UPKEEP}removed_bytes_total[1h])", "{{table}}"),
            ],
            "bytes",
            says="Files that no table named, in the last hour.",
        ),
        Panel(
            "Time of a run",
            [(f"{UPKEEP}run_seconds", "run"), (f"{UPKEEP}interval_seconds", "interval")],
            "s",
        ),
    ],
)

DASHBOARDS = (PIPELINE, ORDERS, CAMERAS, HEALTH)


def dashboard_files() -> dict[str, str]:
    """Every dashboard as JSON, by its path from the root."""
    return {
        f"{FOLDER}/{one.name}.json": json.dumps(as_grafana(one), indent=2) + "\n"
        for one in DASHBOARDS
    }


def as_grafana(dashboard: Dashboard) -> dict[str, Any]:
    """The JSON model: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/."""
    panels: list[dict[str, Any]] = []
    x = y = 0
    for number, panel in enumerate(dashboard.panels, start=1):
        if x + panel.width > COLUMNS:
            x, y = 0, y + HEIGHT
        place = {"x": x, "y": y, "w": panel.width, "h": HEIGHT}
        panels.append({"id": number, "gridPos": place, **_panel(panel)})
        x += panel.width
    return {
        "uid": f"storelake-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["storelake"],
        "editable": False,
        "schemaVersion": 41,
        "timezone": "utc",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "panels": panels,
    }


def _panel(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limits:
        orange, red = panel.limits
        steps += [{"color": "orange", "value": orange}, {"color": "red", "value": red}]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": DATASOURCE,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + n), "expr": expr, "legendFormat": legend}
            for n, (expr, legend) in enumerate(panel.questions)
        ],
    }
