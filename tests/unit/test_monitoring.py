"""Alerts and dashboards query metrics that exist; each alert has a runbook entry."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboard.alert_rules import alert_rules
from gateway.metrics import GatewayMetrics
from tests.support.grafana import DASHBOARDS as FOLDER
from tests.support.grafana import panels
from tests.support.prometheus_local import read_alerts, tool
from tools.docs.metrics_page import meters, metrics_page, registries

pytestmark = pytest.mark.requirement("M1")

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "infra/grafana"
DASHBOARDS = sorted(FOLDER.glob("*.json"))
OF_EVERYBODY = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
RUNBOOK = (ROOT / "docs/ALERTS.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def served() -> set[str]:
    """The names of all series."""
    return OF_EVERYBODY | {
        series
        for registry in registries().values()
        for meter in meters(registry)
        for series in meter.series
    }


def read(dashboard: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(dashboard.read_text(encoding="utf-8"))
    return found


def queried(expression: str) -> set[str]:
    """The names of the series in a PromQL expression."""
    return set(re.findall(r"\b(?:storelake_\w+|process_\w+|up\b)", expression))


@pytest.mark.parametrize("alert", read_alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_queries_served_series_and_has_a_runbook_entry(
    alert: dict[str, Any], served: set[str]
) -> None:
    assert queried(alert["expr"])
    assert queried(alert["expr"]) <= served
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    assert f"- `{alert['alert']}`: {alert['annotations']['action']}\n" in RUNBOOK


FOOTFALL = {"stream": "footfall"}
ROWS = 'storelake_stream_input_rows_total{stream="footfall"}'
TIME = 'storelake_stream_watermark_timestamp_seconds{stream="footfall"}'
CREATED = {"topic": "order-created"}
EVENTS = 'storelake_gateway_events_total{topic="order-created",outcome="%s"}'
TAKEN = {EVENTS % "accepted": "0+10x100"}


@pytest.mark.parametrize(
    ("alert", "fires", "series"),
    [
        # Of one batch after a start, and of an idle shop behind it.
        ("StreamWatermarkStuck", None, {ROWS: "0x55 500x100", TIME: "_x55 1000x100"}),
        ("StreamWatermarkStuck", FOOTFALL, {ROWS: "0+50x100", TIME: "1000x100"}),
        ("StreamWatermarkStuck", None, {ROWS: "0+50x100", TIME: "1000+15x100"}),
        ("GatewayManyRefused", CREATED, TAKEN | {EVENTS % "invalid_event": "0+5x100"}),
        # No till is to blame for a database that is away.
        ("GatewayManyRefused", None, TAKEN | {EVENTS % "keys_unavailable": "0+5x100"}),
    ],
)
def test_an_alert_fires_when_it_should(
    tmp_path: Path, alert: str, fires: dict[str, str] | None, series: dict[str, str]
) -> None:
    (rule,) = [one for one in read_alerts() if one["alert"] == alert]
    bare = {name: rule[name] for name in ("alert", "expr", "for")}
    firing = [] if fires is None else [{"exp_labels": fires}]
    case = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": "20m", "alertname": alert, "exp_alerts": firing}],
    }
    rules, cases = tmp_path / "rules.yml", tmp_path / "cases.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [bare]}]}))
    cases.write_text(yaml.safe_dump({"rule_files": [str(rules)], "tests": [case]}))
    done = subprocess.run(
        [tool("promtool"), "test", "rules", cases], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_event_that_kafka_does_not_take_is_an_increase() -> None:
    served = GatewayMetrics(["order-created"]).text().decode()
    series = 'storelake_gateway_events_total{outcome="broker_unavailable",topic="order-created"}'
    assert f"{series} 0.0" in served


def test_the_runbook_names_no_alert_that_is_gone() -> None:
    named = set(re.findall(r"^- \*?`([A-Z]\w+)`", RUNBOOK, re.MULTILINE))
    assert named >= {alert["alert"] for alert in read_alerts()}
    assert named == set(alert_rules()) - {"TestAlert"}


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: f"{panel[0]}: {panel[1]}")
def test_a_panel_queries_served_series(panel: tuple[str, str, str], served: set[str]) -> None:
    assert queried(panel[2])
    assert queried(panel[2]) <= served


def test_every_meter_of_ours_is_in_a_dashboard_or_an_alert(served: set[str]) -> None:
    shown = {
        name
        for expression in [*(p[2] for p in panels()), *(a["expr"] for a in read_alerts())]
        for name in queried(expression)
    }
    endings = ("_sum", "_count")  # of histograms that are queried by their buckets
    missing = {name for name in served - shown if not name.endswith(endings)}
    assert missing <= {"storelake_maintenance_forgotten_snapshots_total"}


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_has_its_own_name_and_panels_that_do_not_overlap(file: Path) -> None:
    dashboard = read(file)
    cells = [
        (x, panel["gridPos"]["y"])
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(titles) == len(set(titles))
    assert dashboard["uid"] == f"storelake-{file.stem}"


def test_grafana_has_the_datasources_that_the_dashboards_query() -> None:
    files = (GRAFANA / "provisioning/datasources").glob("*.yml")
    sources = [
        {"type": source["type"], "uid": source["uid"]}
        for file in files
        for source in yaml.safe_load(file.read_text(encoding="utf-8"))["datasources"]
    ]
    for dashboard in map(read, DASHBOARDS):
        lists = [dashboard["annotations"]["list"], dashboard["templating"]["list"]]
        for one in [*dashboard["panels"], *lists[0], *lists[1]]:
            assert one["datasource"] in sources, one
    file = GRAFANA / "provisioning/dashboards/storelake.yml"
    (provider,) = yaml.safe_load(file.read_text(encoding="utf-8"))["providers"]
    assert provider["type"] == "file"


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_has_a_variable_links_and_annotations_of_what_is_served(
    file: Path, served: set[str]
) -> None:
    dashboard = read(file)
    (variable,) = dashboard["templating"]["list"]
    queries = [
        target.get("expr") or target["rawSql"]
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]
    used = {name for query in queries for name in re.findall(r"\$\{?([a-z]\w*)", query)}
    assert used == {variable["name"]}
    if isinstance(variable["query"], dict):
        assert queried(variable["query"]["query"]) <= served
    (links,) = dashboard["links"]
    assert set(links["tags"]) <= set(dashboard["tags"])
    for annotation in dashboard["annotations"]["list"]:
        assert queried(annotation["expr"]) <= served | {"process_start_time_seconds"}


def test_prometheus_scrapes_every_process_at_its_port() -> None:
    file = ROOT / "infra/prometheus/prometheus.yml"
    jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["scrape_configs"]
    from conf.settings import Settings  # noqa: PLC0415

    fields = Settings.model_fields
    ports = {
        name: getattr(fields[name].default, "port" if name == "gateway" else "metrics_port")
        for name in registries()
    }
    assert {
        job["job_name"]: int(job["static_configs"][0]["targets"][0].split(":")[1]) for job in jobs
    } == ports


def test_the_page_has_every_meter_with_its_labels() -> None:
    page = metrics_page()
    assert "| `storelake_stream_lag_rows` | gauge | `stream`, `broker` |" in page
    assert "| `storelake_inference_frames_dropped_total` | counter | `camera`, `reason` |" in page
    assert "| `storelake_gateway_ack_seconds` | histogram |  |" in page


def test_an_action_is_a_sentence_of_its_own_without_figures() -> None:
    for alert in read_alerts():
        action = alert["annotations"]["action"]
        assert action.endswith(".")
        assert "{{" not in action, "the console shows it, too"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"ALERT_WEBHOOK_URL": "https://chat.example.com/a'b&c\\1?d=$e"},
        {"ALERT_EMAIL_TO": "a@example.com", "ALERT_EMAIL_FROM": "b@c", "ALERT_SMTP": "m:587"},
    ],
    ids=["nowhere", "webhook", "mail"],
)
def test_alertmanager_takes_its_configuration_with_what_is_set(
    tmp_path: Path, given: dict[str, str]
) -> None:
    folder, file = ROOT / "infra/prometheus", tmp_path / "alertmanager.yml"
    script, template = folder / "alertmanager.sh", folder / "alertmanager.yml"
    environment = {"PATH": os.environ["PATH"], **given}
    subprocess.run(["sh", script, template, file], env=environment, check=True)

    (receiver,) = yaml.safe_load(file.read_text(encoding="utf-8"))["receivers"]
    hooks, mails = receiver.get("webhook_configs", []), receiver.get("email_configs", [])
    assert [hook["url"] for hook in hooks] == [v for k, v in given.items() if "URL" in k]
    assert [mail["to"] for mail in mails] == [v for k, v in given.items() if k.endswith("TO")]
    assert file.stat().st_mode & 0o077 == 0
    subprocess.run([tool("amtool"), "check-config", file], check=True)
