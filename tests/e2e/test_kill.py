"""The Spark application is killed in the middle of its work, and started again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping

import pytest

from conf.settings import Settings
from infra.local.process import tail, wait_until
from tests.stream.sandbox import Sandbox, empty_tables
from tests.support.builders import order_event
from tests.support.postgres_local import role_passwords
from verification.deployment import Deployment
from verification.processes import Child, kill_family

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("O3")]

NAMES = ("bronze_order_events", "order_event_processor", "real_time_metrics")
ORDERS = {f"O-{number}" for number in range(500)}
BATCH = 50


@pytest.fixture
def sandbox(services: Settings, tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """A shop whose streams run in another process, in batches small enough to be caught."""
    empty_tables(services)
    update = {"source": "memory", "max_rows_per_batch": BATCH}
    return Sandbox(
        services.model_copy(
            update={
                "var_dir": tmp_path_factory.mktemp("killed"),
                "catalog": services.catalog.model_copy(update={"name": "killed"}),
                "streams": services.streams.model_copy(update=update),
            }
        )
    )


def deployment_of(sandbox: Sandbox, environment: Mapping[str, str]) -> Deployment:
    """Programs with the settings of the deployment."""
    settings = sandbox.settings
    variables = {
        **{k: v for k, v in environment.items() if k.startswith("STORELAKE_")},
        "STORELAKE_VAR_DIR": str(settings.var_dir),
        "STORELAKE_CATALOG__NAME": settings.catalog.name,
        **role_passwords(settings.postgres),
        "STORELAKE_STREAMS__SOURCE": settings.streams.source,
        "STORELAKE_STREAMS__MAX_ROWS_PER_BATCH": str(settings.streams.max_rows_per_batch),
    }
    return Deployment(settings, variables)


def wait(application: Child, condition: Callable[[], bool]) -> None:
    def met() -> bool:
        application.require_alive()
        return condition()

    assert wait_until(met, 240), "\n".join(tail(application.log, 10))


def written(sandbox: Sandbox) -> int:
    return int(sandbox.query("SELECT count(*) AS n FROM orders_raw")[0]["n"])


def test_an_application_killed_in_the_middle_loses_nothing_and_writes_nothing_twice(
    sandbox: Sandbox, environment: Mapping[str, str]
) -> None:
    for number, order in enumerate(sorted(ORDERS)):
        sandbox.send_order(order_event(order_id=order), topic="order-created")
        if number % 50 == 0:
            sandbox.send_raw("order-created", b"scribble", b"nobody")

    deployment = deployment_of(sandbox, environment)
    with deployment.run("streams", "run", *NAMES) as first:
        wait(first, lambda: written(sandbox) >= 100)
        kill_family(first)
    before = written(sandbox)

    with deployment.run("streams", "run", *NAMES) as second:
        wait(second, lambda: sandbox.finished(*NAMES))
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 0

    assert 100 <= before < len(ORDERS)
    raw = sandbox.query("SELECT order_id FROM orders_raw")
    assert sorted(r["order_id"] for r in raw) == sorted(ORDERS)
    assert sorted(r["order_id"] for r in sandbox.lake("silver.orders")) == sorted(ORDERS)
    assert len(sandbox.lake("quarantine.order_events")) == 10
    bronze = sandbox.lake("bronze.order_events")
    assert len(bronze) == len({r["position"] for r in bronze}) == len(ORDERS) + 10
    assert [r["order_count"] for r in sandbox.query("SELECT order_count FROM order_metrics")] == [
        500
    ]
    assert [r["order_count"] for r in sandbox.lake("gold.order_hourly")] == [500]
    # The ledger counts the rows of a batch once it is closed: those of the cut one came again.
    new = sum(b["rows_new"] for b in sandbox.ledger("order_event_processor"))
    assert len(ORDERS) + 10 - BATCH <= new <= len(ORDERS) + 10
