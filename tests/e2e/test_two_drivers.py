"""A second application on streams that run: README's own command, in both table formats."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from conf.settings import Settings
from infra.local.process import is_alive, tail, wait_until
from infra.local.streams import read_streams, stream_states, streams_ready
from quality.order_observer import broker_positions
from quality.reconciliation import POSITION
from simulator.send import send
from streaming.lake.formats import open_lake
from streaming.lake.tables import BRONZE_ORDER_EVENTS, SILVER_ORDERS
from tests.conftest import settings_from
from tests.stream.sandbox import empty_tables
from verification.deployment import Deployment
from verification.faults.rivals import complaints, fenced_words, submit
from verification.processes import Child

pytestmark = [pytest.mark.timeout(600), pytest.mark.requirement("O3")]

STREAMS = ("bronze_order_events", "order_event_processor")
RATE = 600.0


@dataclass(frozen=True)
class Running:
    """Streams that run while orders come in, and the application that runs them."""

    deployment: Deployment
    driver: Child

    @property
    def settings(self) -> Settings:
        return self.deployment.settings


@pytest.fixture(scope="module", params=["iceberg", "delta"])
def running(
    request: pytest.FixtureRequest, services: Settings, environment: Mapping[str, str]
) -> Iterator[Running]:
    """Two streams as `storelake run` starts them; orders come in for all of the tests."""
    empty_tables(services)
    given = {k: v for k, v in environment.items() if k.startswith("STORELAKE_")}
    # Tables of its own: other tests write rows twice on purpose.
    ours = {
        **given,
        "STORELAKE_CATALOG__FORMAT": request.param,
        "STORELAKE_CATALOG__NAME": "rivals",
        "STORELAKE_CATALOG__WAREHOUSE": f"file://{services.var_dir}/rivals-{request.param}",
    }
    settings = settings_from({**environment, **ours})
    stop = threading.Event()
    sender = threading.Thread(
        target=send, args=(settings,), kwargs={"rate": RATE, "via": "kafka", "stop": stop}
    )
    deployment = Deployment(settings, ours)
    with deployment.run_streams(*STREAMS) as driver, ExitStack() as stack:
        sender.start()
        stack.callback(sender.join)
        stack.callback(stop.set)
        yield Running(deployment, driver)


def rows(settings: Settings) -> dict[str, Counter[tuple[str, int, int]]]:
    """Table -> how often it holds the message of each position."""
    with open_lake(settings) as lake:
        return {
            t.name: Counter(broker_positions(lake.read(t.name, POSITION)))
            for t in (SILVER_ORDERS, BRONZE_ORDER_EVENTS)
        }


def require_none_twice(settings: Settings) -> None:
    for table, counted in rows(settings).items():
        assert counted, f"{table} is empty"
        assert [at for at, times in counted.items() if times > 1] == [], table


def test_the_command_of_the_readme_is_refused_and_no_row_is_there_twice(
    running: Running,
) -> None:
    settings = running.settings
    assert wait_until(lambda: bool(rows(settings)[SILVER_ORDERS.name]), 60)

    second = submit(running.deployment.environment, settings.var_dir, 90)

    require_none_twice(settings)
    assert complaints(second, running.driver.pid) == []
    assert "Traceback" not in second.output
    assert is_alive(running.driver)
    assert streams_ready(settings)


def test_an_application_that_takes_over_is_the_only_one_and_writes_no_row_twice(
    running: Running,
) -> None:
    settings, first = running.settings, running.driver
    with running.deployment.run("second", "run", *STREAMS, "--take-over") as second:

        def runs() -> bool:
            report = read_streams(settings.var_dir)
            return bool(report) and report["pid"] == second.pid and streams_ready(settings)

        assert wait_until(lambda: second.poll() is not None or runs(), 120)
        assert second.poll() is None, tail(settings.var_dir / "logs" / "second.log", 5)
        assert wait_until(lambda: not is_alive(first), 30)
        assert first.poll() == 1
        assert str(second.pid) in fenced_words(settings.var_dir / "logs" / "streams.log")

        before = sum(rows(settings)[SILVER_ORDERS.name].values())
        more = lambda: sum(rows(settings)[SILVER_ORDERS.name].values()) > before  # noqa: E731
        assert wait_until(more, 30), stream_states(settings)
    require_none_twice(settings)
