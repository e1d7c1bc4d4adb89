"""`storelake check` on a running deployment, and `verify-orders`, which kills the streams."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil
import pytest

from conf.settings import Settings
from infra.local.process import wait_until
from quality.order_observer import OrderObserver, RunStart
from quality.order_reconciliation import reconcile_orders
from quality.smoke_test import STREAMS
from simulator.ledger import read_ledger
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.tables import SILVER_ORDERS
from streaming.sinks.postgres import Database
from tests.stream.sandbox import empty_tables
from tests.support.processes import processes_of
from verification.deployment import Deployment

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.requirement("O8"),
    pytest.mark.requirement("O9"),
]


@pytest.fixture(scope="module")
def sandbox(services: Settings, environment: Mapping[str, str]) -> Iterator[Settings]:
    """Services, the order streams and the gateway, as `storelake run` and `gateway` start them."""
    empty_tables(services)
    ours = {key: value for key, value in environment.items() if key.startswith("STORELAKE_")}
    deployment = Deployment(services, ours)
    with deployment.run_streams(*STREAMS), deployment.run_gateway():
        yield services


def check(
    environment: Mapping[str, str], settings: Settings, *options: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    result = subprocess.run(
        [sys.executable, "-m", "cli.main", "check", *options],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    report = settings.var_dir / "check" / "report.json"
    return result, dict(json.loads(report.read_text(encoding="utf-8")))


@pytest.mark.parametrize("count", [100, 1000])
def test_every_event_is_found_where_it_belongs(
    sandbox: Settings, environment: Mapping[str, str], count: int
) -> None:
    shares = ("--poison", "0.1", "--late", "0.1", "--duplicates", "0.1")
    result, report = check(environment, sandbox, "--count", str(count), *shares)

    assert result.returncode == 0, result.stdout + result.stderr
    assert report["ok"] is True
    assert report["faults"] == []
    assert (report["missing"], report["duplicated"]) == (0, 0)
    assert report["sent"] == count == report["accepted"] + report["poisoned"]
    assert report["late"] > 0
    assert report["duplicates"] > 0
    assert report["quarantined"] == report["poisoned"] > 0
    assert report["orders_raw"] == report["accepted"] - report["duplicates"]
    assert 0 < report["orders_processed"] <= report["orders_raw"]
    assert 0 < report["latency_seconds"]["p50"] <= report["latency_seconds"]["p95"]


def test_rendered_baskets_do_as_well_and_late_ones_are_set_aside(
    sandbox: Settings, environment: Mapping[str, str]
) -> None:
    _, report = check(
        environment, sandbox, "--count", "50", "--late", "0.3", "--source", "synthetic"
    )

    assert report["ok"] is True
    late = [entry for entry in read_ledger(ledger_of(sandbox)) if entry.late]
    assert report["late"] == len(late) > 0
    database = Database(sandbox.postgres.dsn, 1)
    try:
        counted = database.fetch(
            "SELECT order_id FROM order_contributions WHERE order_id = ANY(%s)",
            ([entry.order_id for entry in late],),
        )
    finally:
        database.close()
    assert counted == []


def ledger_of(settings: Settings) -> Path:
    return settings.var_dir / "check" / "ledger.ndjson"


def test_a_row_that_somebody_deletes_or_writes_twice_is_noticed(
    sandbox: Settings, environment: Mapping[str, str]
) -> None:
    began = datetime.now(timezone.utc)
    check(environment, sandbox, "--count", "20")
    entries = read_ledger(ledger_of(sandbox))
    positions = sorted((e.position for e in entries if e.position), reverse=True)
    offsets = {(topic, partition): offset for topic, partition, offset in positions}
    database = Database(sandbox.postgres.dsn, 1)
    observer = OrderObserver(sandbox, database, RunStart(began, offsets), entries)
    try:
        assert reconcile_orders(entries, observer.read()).ok

        with database.transaction() as connection:
            connection.execute("DELETE FROM orders_raw WHERE event_id = %s", (entries[3].event_id,))
        found = reconcile_orders(entries, observer.read())
        assert (found.numbers["missing"], found.numbers["duplicated"]) == (1, 0)

        silver = open_catalog(sandbox).load_table(SILVER_ORDERS.name)
        silver.append(silver.scan(f"event_id = '{entries[5].event_id}'").to_arrow())
        found = reconcile_orders(entries, observer.read())
        assert (found.numbers["missing"], found.numbers["duplicated"]) == (1, 1)
    finally:
        database.close()


# -- verify-orders: a deployment of its own
# -------------------------------------------------------------


@pytest.fixture
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proof")


def start_proof(
    environment: Mapping[str, str], var: Path, log: Path, *options: str
) -> psutil.Popen:
    with log.open("wb") as out:
        return psutil.Popen(
            [sys.executable, "-m", "verification", "orders", *options],
            env={**environment, "STORELAKE_VAR_DIR": str(var)},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def test_streams_that_are_killed_lose_and_repeat_nothing(
    environment: Mapping[str, str], var: Path
) -> None:
    log = var / "proof.log"
    shares = ("--poison", "0.05", "--late", "0.02", "--duplicates", "0.05")
    proof = start_proof(environment, var, log, "--count", "600", "--rate", "1200", *shares)
    code = proof.wait(600)
    output = log.read_text(encoding="utf-8")

    assert code == 0, output
    result = json.loads(output.splitlines()[-1])
    assert result["ok"] is True
    assert (result["sent"], result["missing"], result["duplicated"]) == (600, 0, 0)
    assert 300 <= result["killed_at_rows"] < 600
    assert 0 < result["recovery_s"] < 180
    assert processes_of(var) == []


def test_ctrl_c_leaves_nothing_behind(environment: Mapping[str, str], var: Path) -> None:
    log = var / "proof.log"
    proof = start_proof(environment, var, log, "--count", "600")

    def spark_starts() -> bool:
        assert proof.poll() is None, log.read_text(encoding="utf-8")
        return "starting Spark" in log.read_text(encoding="utf-8")

    assert wait_until(spark_starts, 180)
    proof.send_signal(signal.SIGINT)

    assert proof.wait(180) == 130
    assert "Traceback" not in log.read_text(encoding="utf-8")
    assert processes_of(var) == []
