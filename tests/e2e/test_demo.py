"""`make demo` as somebody runs it who has just cloned the deployment."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.compute as pc
import pytest
from confluent_kafka import Consumer, TopicPartition
from pyiceberg.table import StaticTable

from conf.kafka import client_config
from conf.settings import Settings
from infra import local
from tests.conftest import free_ports
from tests.support.pictures import bytes_of, find_pictures
from tests.support.processes import processes_of

pytestmark = pytest.mark.timeout(900)

KEYS = {"orders", "detections", "latency_seconds", "store_hourly", "balanced", "versions"}
KEYS |= {"duration_seconds"}
ORDER_KEYS = {"sent", "accepted", "rejected", "orders_raw", "orders_processed", "quarantined"}
ORDER_KEYS |= {"late"}
CAMERA_KEYS = {"frames_sent", "bronze_frames", "silver_rows", "entries", "exits"}


@dataclass(frozen=True)
class Demo:
    """One run: how it ended, and what it left behind."""

    result: subprocess.CompletedProcess[str]
    var: Path
    settings: Settings
    left_over: list[str]
    open_ports: list[int]

    @property
    def report(self) -> dict[str, Any]:
        return dict(json.loads((self.var / "demo" / "report.json").read_text(encoding="utf-8")))


def run_demo(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "verification", "demo", *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def own(
    environment: Mapping[str, str], settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, str], Settings]]:
    """Ports and a folder of the demo alone: its environment, and the same as settings."""
    kafka, controller, postgres, gateway, pulsar, admin, console = free_ports(7)
    var = tmp_path_factory.mktemp("demo")
    env = {
        **environment,
        "STORELAKE_VAR_DIR": str(var),
        "STORELAKE_KAFKA__PORT": str(kafka),
        "STORELAKE_KAFKA__CONTROLLER_PORT": str(controller),
        "STORELAKE_POSTGRES__PORT": str(postgres),
        "STORELAKE_GATEWAY__PORT": str(gateway),
        "STORELAKE_PULSAR__PORT": str(pulsar),
        "STORELAKE_PULSAR__ADMIN_PORT": str(admin),
        "STORELAKE_CONSOLE__PORT": str(console),
    }
    ports = {"port": kafka, "controller_port": controller}
    same = settings.model_copy(
        update={
            "var_dir": var,
            "kafka": settings.kafka.model_copy(update=ports),
            "postgres": settings.postgres.model_copy(update={"port": postgres, "password": None}),
            "gateway": settings.gateway.model_copy(update={"port": gateway}),
            "pulsar": settings.pulsar.model_copy(update={"port": pulsar, "admin_port": admin}),
            "console": settings.console.model_copy(update={"port": console}),
        }
    )
    yield env, same
    local.reset(same)


@pytest.fixture(scope="module")
def demo(own: tuple[dict[str, str], Settings]) -> Demo:
    env, settings = own
    result = run_demo(env, "--seconds", "15", "--rate", "600", "--poison", "0.05")
    ports = [settings.kafka.port, settings.postgres.port, settings.gateway.port]
    ports += [settings.console.port]
    return Demo(
        result,
        settings.var_dir,
        settings,
        processes_of(settings.var_dir),
        [port for port in ports if listens(port)],
    )


def test_the_demo_ends_well_and_reports_that_the_account_balances(demo: Demo) -> None:
    assert demo.result.returncode == 0, demo.result.stdout + demo.result.stderr
    assert demo.report["balanced"] is True
    assert "balances" in demo.result.stdout


@pytest.mark.requirement("M1")
def test_the_demo_reports_where_its_console_is(demo: Demo) -> None:
    assert f"live console, as long as this runs: {demo.settings.console.url}" in " ".join(
        demo.result.stdout.split()
    )


def test_the_report_has_every_number(demo: Demo) -> None:
    report = demo.report

    assert report.keys() >= KEYS
    assert report["orders"].keys() >= ORDER_KEYS
    assert report["detections"].keys() >= CAMERA_KEYS
    for reader in ("postgres", "iceberg"):
        latency = report["latency_seconds"][reader]
        assert latency["events"] > 0
        assert 0 < latency["p50"] <= latency["p95"] <= latency["max"]
    assert report["store_hourly"]
    assert report["versions"].keys() >= {"storelake", "python", "pyspark"}
    assert report["duration_seconds"] > 15


def test_what_the_cameras_measured_stands_beside_what_happened(demo: Demo) -> None:
    rows = {row["what"]: (row["measured"], row["true"]) for row in demo.report["shop"]}

    orders, sold = rows["orders"]
    assert orders == sold > 0  # tills miss nothing, cameras may
    assert all(abs(measured - true) <= 3 for measured, true in (rows["entries"], rows["exits"]))
    assert rows["conversion rate"][1] > 0


def test_every_order_event_that_was_sent_is_somewhere(demo: Demo) -> None:
    orders = demo.report["orders"]

    assert orders["sent"] >= 100
    assert orders["quarantined"] > 0
    assert orders["sent"] == orders["accepted"] + orders["rejected"] + orders["quarantined"]
    assert orders["accepted"] == orders["orders_raw"]
    assert 0 < orders["orders_processed"] <= orders["orders_raw"]


def test_every_frame_that_was_sent_is_somewhere(demo: Demo) -> None:
    detections = demo.report["detections"]

    assert detections["frames_sent"] > 0
    assert detections["frames_sent"] == detections["bronze_frames"]
    assert detections["silver_rows"] > 0


def topic_ends(settings: Settings, topics: tuple[str, ...]) -> int:
    """Messages in the topics, as a client of Kafka counts them."""
    consumer = Consumer(client_config(settings.kafka, "admin", {"group.id": "counts"}))
    try:
        return sum(
            consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
            for topic in topics
            for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions
        )
    finally:
        consumer.close()


def test_the_tables_show_what_the_report_reports_to_a_reader_of_its_own(demo: Demo) -> None:
    orders, detections = demo.report["orders"], demo.report["detections"]
    with (
        local.running(demo.settings) as ready,
        psycopg.connect(ready.postgres.dsn, autocommit=True) as connection,
    ):

        def number(statement: str) -> Any:
            row = connection.execute(statement.encode()).fetchone()
            assert row is not None
            return row[0]

        files = connection.execute(
            "SELECT table_namespace || '.' || table_name, metadata_location FROM iceberg_tables"
        ).fetchall()
        lake = {name: StaticTable.from_metadata(at).scan().to_arrow() for name, at in files}
        kafka = ready.kafka
        until = demo.report["past"]["until"]  # what is older is the past that the demo begins with

        def gained(what: str, table: str, time: str) -> Any:
            return number(f"SELECT {what} FROM {table} WHERE {time} >= '{until}'")  # noqa: S608

        def rows_gained(table: str, time: str) -> int:
            return int(
                pc.sum(pc.greater_equal(lake[table][time], datetime.fromisoformat(until))).as_py()
            )

        assert gained("count(*)", "orders_raw", "event_time") == orders["orders_raw"]
        assert gained("count(*)", "orders_processed", "created_at") == orders["orders_processed"]
        assert (
            gained("sum(order_count + return_count)", "order_metrics", "hour")
            == orders["orders_processed"]
        )
        assert gained("sum(entries)", "footfall_minute", "minute") == detections["entries"]
        assert gained("sum(exits)", "footfall_minute", "minute") == detections["exits"]
        assert gained("sum(frames)", "footfall_minute", "minute") == detections["frames_sent"]
        assert rows_gained("silver.orders", "event_time") == orders["orders_raw"]
        assert lake["quarantine.order_events"].num_rows == orders["quarantined"]
        assert lake["quarantine.late_events"].num_rows == orders["late"]
        assert rows_gained("silver.detections", "captured_at") == detections["silver_rows"]
        assert lake["bronze.detections"].num_rows == topic_ends(ready, (kafka.detections,))
        assert lake["bronze.order_events"].num_rows == topic_ends(ready, kafka.order_topics)
        assert lake["gold.store_hourly"].num_rows == len(demo.report["store_hourly"])


def test_the_page_of_the_report_loads_nothing_from_elsewhere(demo: Demo) -> None:
    page = (demo.var / "demo" / "report.html").read_text(encoding="utf-8")

    loads = re.findall(r"""(?:src|href|action)\s*=\s*["']?\s*(?:https?:)?//[^"'\s>]+""", page)
    loads += re.findall(r"""(?:url\(|@import)\s*["']?\s*(?:https?:)?//""", page)
    assert loads == []
    assert "<svg" in page


@pytest.mark.requirement("M3")
def test_the_demo_begins_with_two_days_that_its_report_compares(demo: Demo) -> None:
    past, days = demo.report["past"], demo.report["days"]
    assert past["faults"] == []
    assert past["orders"] > 0 < past["visitors"]
    assert {row["branch_id"] for row in days} == {"B01", "B02", "B03"}
    assert all(row["visitors_change"] is not None for row in days if row["against"])
    assert any(row["against"] for row in days)
    page = (demo.var / "demo" / "report.html").read_text(encoding="utf-8")
    assert page.count("<title>Visitors by hour</title>") == 3
    assert page.count("data:image/jpeg;base64,") == 2, "a still of each simulated camera"


@pytest.mark.requirement("V8")
def test_no_table_log_or_temporary_file_holds_a_picture(demo: Demo) -> None:
    # What the cameras look at is a film, and lies there as one.
    films = {".mp4", ".avi"}
    files = [f for f in demo.var.rglob("*") if f.is_file() and f.suffix not in films]
    assert any(f.suffix == ".parquet" for f in files)

    found = {str(f): find_pictures(bytes_of(f)) for f in files}
    # The stills of the simulated films: their head, and their first bytes in base64.
    assert len(found.pop(str(demo.var / "demo" / "report.html"))) == 2 * 2
    assert {name: what for name, what in found.items() if what} == {}


def test_nothing_of_the_demo_continues_after_it(demo: Demo) -> None:
    assert demo.left_over == []
    assert demo.open_ports == []


@pytest.mark.requirement("V6")
def test_footage_and_pulsar_go_the_same_way(own: tuple[dict[str, str], Settings]) -> None:
    env, settings = own

    result = run_demo(env, "--seconds", "10", "--video", "clip", "--broker", "pulsar")

    assert result.returncode == 0, result.stdout + result.stderr
    report = json.loads((settings.var_dir / "demo" / "report.json").read_text(encoding="utf-8"))
    assert report["balanced"] is True
    assert report["shop"] is None
    assert report["detector"] == "ssd"
    assert report["detections"]["frames_sent"] == report["detections"]["bronze_frames"] > 0
    assert processes_of(settings.var_dir) == []


def test_a_video_that_does_not_exist_ends_the_demo_with_one_sentence(
    own: tuple[dict[str, str], Settings], tmp_path: Path
) -> None:
    env, settings = own
    missing = tmp_path / "no such film.mp4"

    result = run_demo(env, "--seconds", "5", "--video", str(missing))

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert f"{missing} does not exist" in result.stderr
    assert processes_of(settings.var_dir) == []
