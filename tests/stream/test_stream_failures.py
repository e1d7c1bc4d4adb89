"""What fails outside of the data: streams try again and go on, or say that they stop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conf.settings import Settings
from infra.local.postgres import PostgresService
from infra.postgres.migrate import migrate
from streaming.feeds import ORDER_EVENTS
from streaming.runner import Batch, Stream, StreamFailedError
from tests.builders import order_event
from tests.postgres_local import own_postgres, start
from tests.stream.house import House

pytestmark = pytest.mark.timeout(900)


def test_a_sink_that_keeps_failing_ends_the_run_and_names_the_stream(
    new_house: Callable[[], House],
) -> None:
    house = new_house()
    streams = house.settings.streams.model_copy(update={"retries": 1, "retry_base_seconds": 0.05})
    house.settings = house.settings.model_copy(update={"streams": streams})
    house.send_order(order_event())
    attempts: list[int] = []

    def broken(batch: Batch) -> None:
        if batch.rows.num_rows:
            attempts.append(batch.id)
            raise OSError("the disk is full")

    with pytest.raises(StreamFailedError, match=r"doomed failed 2 times.*the disk is full"):
        house.run_streams([Stream("doomed", ORDER_EVENTS, broken)])

    assert len(attempts) == 2
    assert len(set(attempts)) == 1


@pytest.fixture
def server(services: Settings, tmp_path: Path) -> Iterator[PostgresService]:
    """Its house tries again as often as it takes."""
    streams = {"source": "memory", "trigger_seconds": 0.1, "retries": 100, "retry_max_seconds": 0.5}
    update: dict[str, Any] = {"streams": services.streams.model_copy(update=streams)}
    if services.bucket:
        warehouse = f"s3://{services.bucket}/unsteady"
        update["catalog"] = services.catalog.model_copy(update={"warehouse": warehouse})
    with own_postgres(services.model_copy(update=update), tmp_path) as started:
        migrate(started.settings)
        yield started


def test_streams_outlive_a_database_that_stops_and_comes_back(server: PostgresService) -> None:
    house = House(server.settings)
    failed: list[bool] = []

    def orders(first: int, last: int) -> list[dict[str, Any]]:
        return [order_event(order_id=f"O-{n}") for n in range(first, last)]

    def failures() -> int:
        text = (house.settings.var_dir / "run" / "streams.json").read_text(encoding="utf-8")
        return max(s["failures"] for s in json.loads(text)["streams"].values())

    def stop_it_and_sell_on() -> None:
        server.stop()
        house.send_order(*orders(10, 30))

    def start_it_once_they_noticed() -> None:
        if not failed and failures():
            failed.append(True)
            start(server)

    house.send_order(*orders(0, 10))
    house.run(
        "order_event_processor",
        "real_time_metrics",
        steps=[stop_it_and_sell_on],
        meanwhile=start_it_once_they_noticed,
    )

    assert failed
    everything = {f"O-{n}" for n in range(30)}
    assert {r["order_id"] for r in house.query("SELECT order_id FROM orders_raw")} == everything
    assert sorted(r["order_id"] for r in house.lake("silver.orders")) == sorted(everything)
    assert [r["order_count"] for r in house.query("SELECT order_count FROM order_metrics")] == [30]
