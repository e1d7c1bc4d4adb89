"""The notebooks over an empty lake and over weeks of one branch; `tests/stream` has a whole day."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from datetime import timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import matplotlib as mpl
import pyarrow as pa
import pytest
from matplotlib import pyplot as plt

from conf.settings import Settings
from conf.stores import Stores
from queries.parquet import arrow_type
from streaming.lake.iceberg.catalog import KnowingCatalog
from streaming.lake.tables import GOLD_STORE_HOURLY
from streaming.lake.views import TAG
from tests.support.small_lake import lake_for_queries
from tests.unit.test_forecast import usual, weeks

pytestmark = pytest.mark.requirement("L2")

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
BRANCH, ZONE = "B01", ZoneInfo("Europe/Berlin")
Run = Callable[[str], dict[str, Any]]


@pytest.fixture
def catalog(
    settings: Settings, stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KnowingCatalog]:
    with lake_for_queries(tmp_path, stores, monkeypatch) as catalog:
        opened = SimpleNamespace(load_table=catalog.load_table, close=lambda: None)
        monkeypatch.setattr("queries.notebook.load_settings", lambda: settings)
        monkeypatch.setattr("queries.notebook.open_catalog", lambda _: opened)
        yield catalog


@pytest.fixture
def run(catalog: KnowingCatalog) -> Iterator[Run]:
    """Runs the cells of a notebook as a program; the plots are open until the test has ended."""
    with mpl.rc_context({"backend": "agg"}):
        yield lambda name: runpy.run_path(str(NOTEBOOKS / f"{name}.py"))
        plt.close("all")


def fill(catalog: KnowingCatalog, number: float) -> None:
    """Hours of one branch: two of three visitors buy."""
    types = {c.name: arrow_type(c.type, "spark") for c in GOLD_STORE_HOURLY.fields}
    rows = []
    for hour, count in weeks(number).itertuples(index=False):
        local = hour.to_pydatetime()
        known = {"visitors": count, "orders_in_store": round(count * 2 / 3), "camera_coverage": 1.0}
        clocks = {"hour": local.replace(tzinfo=ZONE).astimezone(timezone.utc), "local_hour": local}
        rows.append({"branch_id": BRANCH, **clocks, **known, "queue_waits": count})
    table = catalog.load_table(GOLD_STORE_HOURLY.name)
    table.append(pa.Table.from_pylist(rows, schema=pa.schema(list(types.items()))))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    table.manage_snapshots().create_tag(snapshot.snapshot_id, TAG).commit()


def test_the_forecast_of_visitors_is_near_what_is_usual(catalog: KnowingCatalog, run: Run) -> None:
    fill(catalog, 4)
    cells = run("visitor_forecast")
    expected = cells["expected"][BRANCH]
    assert all(axes.get_ylim()[0] == 0 for axes in plt.gcf().axes)
    assert expected["count"].sum() == pytest.approx(sum(map(usual, expected["hour"])), rel=0.1)
    assert cells["tested"][BRANCH].covered > 0.8


def test_tills_follow_the_customers_of_each_hour(catalog: KnowingCatalog, run: Run) -> None:
    fill(catalog, 2)
    roster = run("staffing")["roster"].set_index("hour")
    assert (
        roster["orders_in_store"].idxmax() in roster.index[roster["tills"] == roster["tills"].max()]
    )
    assert roster["tills"].max() > roster["tills"].min() == 1


@pytest.mark.parametrize("name", ["visitor_forecast", "staffing"])
def test_too_little_history_is_reported_with_the_number_of_days(
    name: str, catalog: KnowingCatalog, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(catalog, 1)
    assert run(name)["too_little"].keys() == {BRANCH}
    assert f"{BRANCH}: A forecast needs 14 days, each weekday twice, and there are 7." in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("name", sorted(file.stem for file in NOTEBOOKS.glob("*.py")))
def test_a_notebook_over_an_empty_lake_prints_why_it_has_no_rows(
    name: str, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queries.duckdb_engine.snapshot_of", lambda *_: None)  # all are validated
    run(name)
    if name != "lake_internals":
        assert "No rows: nothing was counted yet (" in capsys.readouterr().out
