"""Failures outside of the data: streams retry and continue, or stop with an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conf.settings import Settings
from infra.local.postgres import PostgresService
from infra.postgres.migrate import migrate
from streaming.jobs import find_streams
from streaming.runtime import query
from streaming.runtime.failures import StreamFailedError
from streaming.runtime.lease import LeaseHeldError, Leases
from streaming.runtime.runner import Runner
from streaming.steps import VALIDATE_ORDERS
from streaming.stream import ORDERS, Batch, Stream
from tests.stream.sandbox import Sandbox
from tests.support.builders import order_event
from tests.support.postgres_local import own_postgres, start

pytestmark = pytest.mark.timeout(900)


def test_a_sink_that_keeps_failing_ends_the_run_and_names_the_stream(
    new_sandbox: Callable[[], Sandbox],
) -> None:
    sandbox = new_sandbox()
    streams = sandbox.settings.streams.model_copy(update={"retries": 1, "retry_base_seconds": 0.05})
    sandbox.settings = sandbox.settings.model_copy(update={"streams": streams})
    sandbox.send_order(order_event())
    attempts: list[int] = []

    def broken(batch: Batch) -> None:
        if batch.rows.num_rows:
            attempts.append(batch.id)
            raise OSError("the disk is full")

    with pytest.raises(StreamFailedError, match=r"doomed failed 2 times.*the disk is full"):
        sandbox.run_streams([Stream("doomed", ORDERS, (VALIDATE_ORDERS,), write=broken)])

    assert len(attempts) == 2
    assert len(set(attempts)) == 1


def test_a_stream_that_keeps_failing_stops_only_itself(
    new_sandbox: Callable[[], Sandbox],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both share a query; the disk is mended in the end."""
    monkeypatch.setattr(query, "SPLIT_SECONDS", 0.2)
    sandbox = new_sandbox()
    limits = {"retries": 2, "retry_base_seconds": 0.05, "failed_retry_seconds": 0.5}
    streams = sandbox.settings.streams.model_copy(update=limits)
    sandbox.settings = sandbox.settings.model_copy(update={"streams": streams})
    seen: dict[str, list[str]] = {"broken": [], "sound": []}
    states: list[dict[str, Any]] = []
    sent_again: list[bool] = []
    mended: list[bool] = []

    def keep(batch: Batch) -> None:
        new = [p for p in batch.rows["position"].to_pylist() if p not in seen[batch.stream]]
        seen[batch.stream] += new

    def broken(batch: Batch) -> None:
        if batch.rows.num_rows and not mended:
            raise OSError("the disk is full")
        keep(batch)

    def state() -> dict[str, Any]:
        text = (sandbox.settings.var_dir / "run" / "streams.json").read_text(encoding="utf-8")
        return dict(json.loads(text)["streams"])

    def until() -> bool:
        if not seen["sound"]:
            return False
        if not sent_again:
            sent_again.append(True)
            sandbox.send_order(order_event(order_id="O-2"))
        if not mended and len(seen["sound"]) == 2 and state()["broken"]["state"] == "failed":
            states.append(state())
            mended.append(True)
        return len(seen["broken"]) == 2

    sandbox.send_order(order_event(order_id="O-1"))
    Runner(
        sandbox.settings,
        [
            Stream("broken", ORDERS, (VALIDATE_ORDERS,), write=broken),
            Stream("sound", ORDERS, (VALIDATE_ORDERS,), write=keep),
        ],
    ).run(until=until)

    assert seen["broken"] == seen["sound"] == [f"{n:020d}" for n in (0, 1)]
    (then,) = states
    assert "OSError: the disk is full" in then["broken"]["detail"]
    assert "order-created[0]" in then["broken"]["detail"]
    assert (then["sound"]["state"], then["sound"]["detail"]) == ("running", "")
    assert not [r for r in caplog.messages if "LocalRelation" in r or "Thread State" in r]


def test_rows_that_a_sink_rejects_are_set_aside_and_the_stream_continues(
    new_sandbox: Callable[[], Sandbox],
) -> None:
    """Two of forty: one that the processor cannot hold, and one that the metrics cannot."""
    sandbox = new_sandbox()
    with psycopg.connect(sandbox.settings.owner_dsn, autocommit=True) as connection:
        connection.execute(
            "ALTER TABLE orders_raw ADD CONSTRAINT odd CHECK (order_id <> 'O-7') NOT VALID"
        )
        connection.execute(
            "ALTER TABLE order_contributions ADD CONSTRAINT odd CHECK (order_id <> 'O-9') NOT VALID"
        )
        try:
            sandbox.send_order(*[order_event(order_id=f"O-{n}") for n in range(40)])
            for _ in range(2):
                sandbox.run("order_event_processor", "real_time_metrics")
                sandbox.lose_checkpoint("order_event_processor", "real_time_metrics")
        finally:
            connection.execute("ALTER TABLE orders_raw DROP CONSTRAINT odd")
            connection.execute("ALTER TABLE order_contributions DROP CONSTRAINT odd")

    sold = {f"O-{n}" for n in range(40)}
    assert {r["order_id"] for r in sandbox.query("SELECT order_id FROM orders_raw")} == sold - {
        "O-7"
    }
    assert sorted(r["order_id"] for r in sandbox.lake("silver.orders")) == sorted(sold - {"O-7"})
    (dead_letter,) = sandbox.query("SELECT position, rules FROM dead_letters")
    assert dead_letter["rules"] == ["refused_by_sink"]
    (rejected,) = sandbox.lake("quarantine.order_events")
    assert rejected["position"] == dead_letter["position"]
    assert [r["order_count"] for r in sandbox.query("SELECT order_count FROM order_metrics")] == [
        39
    ]
    refused = sandbox.query("SELECT stream, error_class, value FROM refused_rows ORDER BY stream")
    assert [(r["stream"], r["error_class"]) for r in refused] == [
        ("order_event_processor", "CheckViolation"),
        ("real_time_metrics", "CheckViolation"),
    ]
    assert [json.loads(r["value"])["order"]["order_id"] for r in refused] == ["O-7", "O-9"]


def test_of_two_streams_in_one_query_the_one_that_was_taken_over_ends_and_the_other_continues(
    new_sandbox: Callable[[], Sandbox],
) -> None:
    sandbox = new_sandbox()
    names = ("order_event_processor", "bronze_order_events")
    other = Leases(
        sandbox.settings.postgres.dsn,
        ["bronze_order_events"],
        "another application",
        timedelta(seconds=3),
        take_over=True,
    )
    steps = [
        lambda: other.acquire() if sandbox.finished(*names) else False,
        lambda: (
            sandbox.send_order(order_event(order_id="O-2"))
            if state("bronze") == "failed"
            else False
        ),
    ]

    def state(name: str) -> str:
        text = (sandbox.settings.var_dir / "run" / "streams.json").read_text(encoding="utf-8")
        return str(json.loads(text)["streams"][f"{name}_order_events"]["state"])

    def until() -> bool:
        if steps and steps[0]() is not False:
            steps.pop(0)
        return len(sandbox.query("SELECT FROM orders_raw")) == 2

    sandbox.send_order(order_event(order_id="O-1"))
    try:
        with pytest.raises(StreamFailedError, match=r"^bronze_order_events was taken over by"):
            Runner(sandbox.settings, find_streams(names)).run(until=until)
    finally:
        other.release()
    assert len(sandbox.lake("bronze.order_events")) == 1


def test_a_second_application_is_refused_and_one_that_takes_over_fences_the_first(
    new_sandbox: Callable[[], Sandbox],
) -> None:
    sandbox = new_sandbox()
    settings = sandbox.settings
    taking = settings.streams.model_copy(update={"take_over": True})

    def try_a_second_one() -> None:
        others = ("storelake:order_event_processor", timedelta(seconds=3))
        dsn = settings.postgres.dsn
        with pytest.raises(
            LeaseHeldError,
            match=r"^The stream order_event_processor is held by storelake:order_event_processor "
            r"\(process \d+ on .*\) since 20.* UTC: stop it .*--take-over",
        ):
            Leases(dsn, ["order_event_processor"], *others).acquire()
        second = Leases(dsn, ["order_event_processor"], *others, take_over=taking.take_over)
        second.acquire()
        second.release()
        sandbox.send_order(order_event(order_id="O-2"))

    sandbox.send_order(order_event(order_id="O-1"))
    with pytest.raises(StreamFailedError, match="order_event_processor was taken over by"):
        sandbox.run("order_event_processor", steps=[try_a_second_one])
    assert [r["order_id"] for r in sandbox.query("SELECT order_id FROM orders_raw")] == ["O-1"]
    assert [r["order_id"] for r in sandbox.lake("silver.orders")] == ["O-1"]

    sandbox.run("order_event_processor")
    assert sorted(r["order_id"] for r in sandbox.lake("silver.orders")) == ["O-1", "O-2"]


@pytest.fixture
def server(services: Settings, tmp_path: Path) -> Iterator[PostgresService]:
    """A server of its own, with settings for many retries."""
    streams = {"source": "memory", "trigger_seconds": 0.1, "retries": 100, "retry_max_seconds": 0.5}
    update: dict[str, Any] = {"streams": services.streams.model_copy(update=streams)}
    if services.bucket:
        warehouse = f"s3://{services.bucket}/unsteady"
        update["catalog"] = services.catalog.model_copy(update={"warehouse": warehouse})
    with own_postgres(services.model_copy(update=update), tmp_path) as started:
        migrate(started.settings)
        yield started


def test_streams_outlive_a_database_that_stops_and_comes_back(server: PostgresService) -> None:
    sandbox = Sandbox(server.settings)
    failed: list[bool] = []

    def orders(first: int, last: int) -> list[dict[str, Any]]:
        return [order_event(order_id=f"O-{n}") for n in range(first, last)]

    def failures() -> int:
        text = (sandbox.settings.var_dir / "run" / "streams.json").read_text(encoding="utf-8")
        return max(s["failures"] for s in json.loads(text)["streams"].values())

    def stop_it_and_sell_on() -> None:
        server.stop()
        sandbox.send_order(*orders(10, 30))

    def start_it_once_they_noticed() -> None:
        if not failed and failures():
            failed.append(True)
            start(server)

    sandbox.send_order(*orders(0, 10))
    sandbox.run(
        "order_event_processor",
        "real_time_metrics",
        steps=[stop_it_and_sell_on],
        meanwhile=start_it_once_they_noticed,
    )

    assert failed
    everything = {f"O-{n}" for n in range(30)}
    assert {r["order_id"] for r in sandbox.query("SELECT order_id FROM orders_raw")} == everything
    assert sorted(r["order_id"] for r in sandbox.lake("silver.orders")) == sorted(everything)
    assert [r["order_count"] for r in sandbox.query("SELECT order_count FROM order_metrics")] == [
        30
    ]
