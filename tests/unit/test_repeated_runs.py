"""Repeated runs of validation and maintenance continue after any failure of one run."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import ModuleType

import pytest

import quality.run
import streaming.lake.maintenance.run
from conf.settings import Settings
from quality.engines import Engines
from quality.serve import serve as serve_quality
from streaming.lake.maintenance.retain import PeriodicRetention
from streaming.lake.maintenance.serve import serve as serve_maintenance


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The commands take SIGTERM and SIGINT for themselves."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


COMMANDS: dict[str, tuple[ModuleType, Callable[[Settings], None]]] = {
    "run_maintenance": (
        streaming.lake.maintenance.run,
        lambda own: serve_maintenance(own, None, timedelta(0)),
    ),
    "run_quality": (
        quality.run,
        lambda own: serve_quality(own, quality.run.ValidationPlan(), timedelta(0), Engines(own)),
    ),
}


@pytest.mark.parametrize("function", COMMANDS)
def test_a_run_that_fails_is_followed_by_the_next(
    function: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    runs: list[int] = []

    def fails(*_: object, **__: object) -> None:
        runs.append(1)
        if len(runs) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        raise KeyError("iceberg_tables")

    monkeypatch.setattr(PeriodicRetention, "run_if_due", lambda *_: None)
    module, serve = COMMANDS[function]
    quiet = {
        name: getattr(settings, name).model_copy(update={"metrics_port": 0})
        for name in ("quality", "maintenance")
    }
    own = settings.model_copy(update=quiet)
    monkeypatch.setattr(module, function, fails)

    serve(own)

    assert len(runs) == 3
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line[:1] == "{"]
    assert [line["error"] for line in lines if line["event"] == "run_failed"] == [
        "'iceberg_tables'"
    ] * 3


@pytest.mark.requirement("S2")
@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_retention_runs_also_where_maintenance_fails_and_where_delta_has_none(
    table_format: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    retained: list[str] = []

    def fails(*_: object, **__: object) -> None:
        assert table_format == "iceberg"
        raise KeyError("quality.maintenance_runs")

    def retain(task: PeriodicRetention, _: logging.Logger) -> None:
        retained.append(task.settings.catalog.format)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(streaming.lake.maintenance.run, "run_maintenance", fails)
    monkeypatch.setattr(PeriodicRetention, "run_if_due", retain)
    own = settings.model_copy(
        update={
            "catalog": settings.catalog.model_copy(update={"format": table_format}),
            "maintenance": settings.maintenance.model_copy(update={"metrics_port": 0}),
        }
    )

    serve_maintenance(own, None, timedelta(0))

    assert retained == [table_format]
