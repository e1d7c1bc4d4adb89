"""OpenLineage events: what streams and validation runs read and write, and how it is sent."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import attr
import pytest
from openlineage.client.event_v2 import RunEvent, RunState
from openlineage.client.serde import Serde
from prometheus_client import CollectorRegistry

from conf.settings import Settings, SettingsError, load_settings
from infra.local.process import wait_until
from quality.lineage import run_events
from quality.results import Result
from quality.run import QualityRun
from streaming.lineage.events import stream_run
from streaming.lineage.sender import LineageSender
from streaming.lineage.watch import LineageWatch
from streaming.registry import STREAMS

pytestmark = pytest.mark.requirement("M1")

COLUMNS = {"orders_raw": [("order_id", "text"), ("amount", "numeric")]}
ENTRY = {entry.name: entry for entry in STREAMS}


@pytest.fixture
def settings() -> Settings:
    return load_settings(kafka={"bootstrap_servers": "broker-1:9092,broker-2:9092"})


def sent(event: RunEvent) -> dict[str, Any]:
    return dict(json.loads(Serde.to_json(event)))


def names(datasets: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(one["namespace"], one["name"]) for one in datasets}


def test_a_stream_has_its_topics_as_inputs_and_its_tables_as_outputs(settings: Settings) -> None:
    run = stream_run(ENTRY["order_event_processor"], settings, COLUMNS)
    event = sent(run.event(RunState.START))
    postgres = f"postgres://127.0.0.1:{settings.postgres.port}"
    database = settings.postgres.database

    assert event["eventType"] == "START"
    assert event["job"]["namespace"] == "storelake"
    assert event["job"]["name"] == "order_event_processor"
    assert event["job"]["facets"]["jobType"]["processingType"] == "STREAMING"
    assert names(event["inputs"]) == {
        ("kafka://broker-1:9092", topic) for topic in settings.kafka.order_topics
    }
    assert names(event["outputs"]) == {
        (postgres, f"{database}.public.orders_raw"),
        (postgres, f"{database}.public.orders_processed"),
        (postgres, f"{database}.public.dead_letters"),
        ("file", f"{settings.var_dir}/warehouse/silver/orders"),
        ("file", f"{settings.var_dir}/warehouse/quarantine/order_events"),
        ("kafka://broker-1:9092", "order-dlq"),
    }


def test_outputs_have_their_schema_and_the_name_in_the_catalog(settings: Settings) -> None:
    run = stream_run(ENTRY["order_event_processor"], settings, COLUMNS)
    outputs = sent(run.event(RunState.START))["outputs"]
    facets = {one["name"].rpartition("/")[2]: one["facets"] for one in outputs}
    raw = facets[f"{settings.postgres.database}.public.orders_raw"]["schema"]["fields"]
    orders = facets["orders"]

    assert [(field["name"], field["type"]) for field in raw] == COLUMNS["orders_raw"]
    assert orders["symlinks"]["identifiers"][0]["name"] == "silver.orders"
    assert ("branch_id", "string") in [(f["name"], f["type"]) for f in orders["schema"]["fields"]]


def test_every_stream_reads_and_writes_something_and_every_field_is_required_by_the_schema(
    settings: Settings,
) -> None:
    """The package has no JSON schema: its classes, made from it, have the required fields."""
    required = {one.name for one in attr.fields(RunEvent) if one.default is attr.NOTHING}
    for entry in STREAMS:
        event = sent(stream_run(entry, settings, {}).event(RunState.RUNNING))
        assert event["inputs"], entry.name
        assert event["outputs"], entry.name
        assert required | {"producer", "schemaURL", "eventTime"} <= event.keys()
        assert datetime.fromisoformat(event["eventTime"]).tzinfo
        assert event["producer"].startswith("urn:storelake:")
        facets = [f for d in event["inputs"] + event["outputs"] for f in d["facets"].values()]
        assert all({"_producer", "_schemaURL"} <= facet.keys() for facet in facets)


def test_lineage_joins_the_streams(settings: Settings) -> None:
    """What one stream reads of Postgres, another one writes."""
    runs = [sent(stream_run(entry, settings, {}).event(RunState.START)) for entry in STREAMS]
    written = set().union(*(names(run["outputs"]) for run in runs))
    hourly = next(run for run in runs if run["job"]["name"] == "store_hourly")
    assert names(hourly["inputs"]) <= written


def result(table: str, *, passed: bool) -> Result:
    return Result(
        table=table,
        suite="rows",
        name="known",
        kind="expect_column_values_to_be_in_set",
        severity="warning",
        state="passed" if passed else "failed",
        snapshot_id=7,
        rows=100,
        unexpected=0 if passed else 3,
        observed=None,
        samples="[]",
        says="The branch is known.",
    )


def test_a_validation_run_has_its_assertions_on_each_table(settings: Settings) -> None:
    at = datetime(2026, 11, 30, 6, tzinfo=timezone.utc)
    found = [result("postgres.orders_raw", passed=True), result("silver.orders", passed=False)]
    start, complete = map(sent, run_events(settings, QualityRun("r", at, found)))
    tables = {one["name"].rpartition("/")[2]: one for one in complete["inputs"]}
    (assertion,) = tables["orders"]["inputFacets"]["dataQualityAssertions"]["assertions"]

    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert start["eventTime"] == at.isoformat()
    assert f"{settings.postgres.database}.public.orders_raw" in tables
    assert assertion["success"] is False
    assert (assertion["severity"], assertion["name"]) == ("warn", "silver.orders.rows.known")


class Columns:
    """A database that has one table."""

    @contextmanager
    def transaction(self) -> Iterator[Columns]:
        yield self

    def execute(self, _: str) -> Columns:
        return self

    def fetchall(self) -> list[tuple[str, str, str]]:
        return [("orders_raw", "order_id", "text")]


def watch(settings: Settings, registry: CollectorRegistry, **states: str) -> LineageWatch:
    def state(stream: str) -> dict[str, str]:
        detail = "no broker" if states[stream] == "failed" else ""
        return {"state": states[stream], "detail": detail}

    return LineageWatch(settings, registry, tuple(states), Columns(), state)  # type: ignore[arg-type]


def lineage(settings: Settings, **fields: Any) -> Settings:
    return settings.model_copy(update={"lineage": settings.lineage.model_copy(update=fields)})


def count(registry: CollectorRegistry, outcome: str) -> float:
    return registry.get_sample_value("storelake_lineage_events_total", {"outcome": outcome}) or 0


def test_an_application_is_a_run_of_each_stream_from_start_to_end(
    settings: Settings, tmp_path: Path
) -> None:
    file, registry = tmp_path / "lineage" / "events.ndjson", CollectorRegistry()
    own = lineage(settings, file=file, every=timedelta(seconds=0.05))
    running = watch(own, registry, footfall="running", store_hourly="failed")
    running.start()
    assert wait_until(lambda: count(registry, "sent") >= 4, 30)
    running.stop()
    events = [json.loads(line) for line in file.read_text().splitlines()]
    by_job = {
        job: [one for one in events if one["job"]["name"] == job]
        for job in ("footfall", "store_hourly")
    }

    assert {one["run"]["runId"] for one in events} == {
        by_job[job][0]["run"]["runId"] for job in by_job
    }
    assert [one["eventType"] for one in by_job["footfall"]][:2] == ["START", "RUNNING"]
    assert by_job["footfall"][-1]["eventType"] == "COMPLETE"
    assert by_job["store_hourly"][-1]["eventType"] == "FAIL"
    assert by_job["store_hourly"][-1]["run"]["facets"]["errorMessage"]["message"] == "no broker"


class Catalog(BaseHTTPRequestHandler):
    """An endpoint that keeps what it is sent."""

    got: ClassVar[list[tuple[str, str, dict[str, Any]]]] = []
    answer = 201

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        key = self.headers.get("authorization", "")
        type(self).got.append((self.path, key, json.loads(body)))
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Catalog, "got", [])
    server = HTTPServer(("127.0.0.1", 0), Catalog)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_endpoint_gets_events_again_once_it_answers(
    catalog: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load_settings(lineage={"url": catalog, "api_key": "k-123"})
    registry = CollectorRegistry()
    sender = LineageSender(settings.lineage, registry)
    run = stream_run(ENTRY["footfall"], settings, {})
    monkeypatch.setattr(Catalog, "answer", 500)
    sender.send([run.event(RunState.START), run.event(RunState.RUNNING)])
    sender.send([run.event(RunState.RUNNING)])
    monkeypatch.setattr(Catalog, "answer", 201)
    sender.send([run.event(RunState.RUNNING)])
    path, key, event = Catalog.got[-1]

    assert (path, key) == ("/api/v1/lineage", "Bearer k-123")
    assert event["inputs"], "an event that arrives later makes up for those that were dropped"
    assert (count(registry, "sent"), count(registry, "dropped")) == (1, 3)
    assert caplog.text.count("lineage events are dropped") == 1
    assert "k-123" not in caplog.text


def test_an_endpoint_that_hangs_holds_no_stream_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.lineage.watch.END_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        running = watch(
            load_settings(lineage={"url": url}), CollectorRegistry(), footfall="running"
        )
        running.start()
        running.stop()


def test_a_wrong_setting_is_one_sentence(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    own = lineage(settings, file=tmp_path / "file" / "events.ndjson")
    with pytest.raises(SettingsError, match=r"lineage.file: .*/file cannot be made"):
        LineageSender(own.lineage, CollectorRegistry())
    with pytest.raises(SettingsError, match=r"lineage\.url"):
        load_settings(lineage={"url": "marquez:5000"})
    monkeypatch.setattr("streaming.lineage.sender.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"install storelake\[lineage\]"):
        LineageSender(own.lineage, CollectorRegistry())
