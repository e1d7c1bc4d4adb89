"""The Spark application is killed in the middle of its work, and started again."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from conf.settings import Settings
from infra.local.process import tail, wait_until
from tests.stream.house import House, empty_tables
from tests.support.builders import order_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("O3")]

NAMES = ("bronze_order_events", "order_event_processor", "real_time_metrics")
ORDERS = {f"O-{number}" for number in range(500)}


@pytest.fixture
def house(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> House:
    """A shop whose streams run in another process, in batches small enough to be caught."""
    empty_tables(services)
    update = {"source": "memory", "max_rows_per_batch": 50}
    return House(
        services.model_copy(
            update={
                "var_dir": tmp_path_factory.mktemp("killed"),
                "catalog": services.catalog.model_copy(update={"name": "killed"}),
                "streams": services.streams.model_copy(update=update),
            }
        )
    )


@contextmanager
def application(house: House, environment: Mapping[str, str]) -> Iterator[psutil.Process]:
    """`storelake run` with the settings of the house; killed with all its children at the end."""
    settings = house.settings
    own = {
        "STORELAKE_VAR_DIR": str(settings.var_dir),
        "STORELAKE_CATALOG__NAME": settings.catalog.name,
        "STORELAKE_POSTGRES__PASSWORD": settings.postgres.secret,
        "STORELAKE_STREAMS__SOURCE": settings.streams.source,
        "STORELAKE_STREAMS__MAX_ROWS_PER_BATCH": str(settings.streams.max_rows_per_batch),
    }
    with log_of(house).open("ab") as log:
        child = psutil.Popen(
            [sys.executable, "-m", "cli.main", "run", *NAMES],
            env={**environment, **own},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield child
        finally:
            kill(child)


def log_of(house: House) -> Path:
    return house.settings.var_dir / "application.log"


def kill(application: psutil.Process) -> None:
    """SIGKILL for the driver, its JVM and every worker, so that nobody can tidy up."""
    family = [application]
    if application.is_running():
        family += application.children(recursive=True)
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=20)


def wait(house: House, application: psutil.Process, condition: Callable[[], bool]) -> None:
    met = wait_until(lambda: application.poll() is not None or condition(), 240)
    assert met, "\n".join(tail(log_of(house), 10))
    assert application.poll() is None, "\n".join(tail(log_of(house), 10))


def written(house: House) -> int:
    return int(house.query("SELECT count(*) AS n FROM orders_raw")[0]["n"])


def test_an_application_killed_in_the_middle_loses_nothing_and_writes_nothing_twice(
    house: House, environment: Mapping[str, str]
) -> None:
    for number, order in enumerate(sorted(ORDERS)):
        house.send_order(order_event(order_id=order), topic="order-created")
        if number % 50 == 0:
            house.send_raw("order-created", b"scribble", b"nobody")

    with application(house, environment) as first:
        wait(house, first, lambda: written(house) >= 100)
        kill(first)
    before = written(house)

    with application(house, environment) as second:
        wait(house, second, lambda: house.finished(*NAMES))
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 0

    assert 100 <= before < len(ORDERS)
    raw = house.query("SELECT order_id FROM orders_raw")
    assert sorted(r["order_id"] for r in raw) == sorted(ORDERS)
    assert sorted(r["order_id"] for r in house.lake("silver.orders")) == sorted(ORDERS)
    assert len(house.lake("quarantine.order_events")) == 10
    bronze = house.lake("bronze.order_events")
    assert len(bronze) == len({r["position"] for r in bronze}) == len(ORDERS) + 10
    assert [r["order_count"] for r in house.query("SELECT order_count FROM order_metrics")] == [500]
    assert [r["order_count"] for r in house.lake("gold.order_hourly")] == [500]
    assert sum(b["rows_new"] for b in house.ledger("order_event_processor")) == len(ORDERS) + 10
