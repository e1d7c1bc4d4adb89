"""`python -m verification`: fresh deployments, and the comparisons that `ok` depends on."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from conf.errors import StorelakeError
from conf.settings import Settings, load_settings
from conf.stores import Stores
from infra import local
from infra.local.passwords import with_secrets
from quality.results import Result
from queries.engine import Answer
from verification.demo.days import compare_days, group_days
from verification.demo.report import Pictures, show, write_html
from verification.demo.stills import stills
from verification.deployment import fresh_deployment
from verification.lake.engine_comparison import compare
from verification.lake.maintenance_report import maintenance
from verification.quality.fault_injection import InjectedFault
from verification.quality.run import match
from verification.watch import Latencies

# -- fresh deployments -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("branch", "changes", "named"),
    [
        ("pulsar", {"service_url": "pulsar://x.example:6650"}, "STORELAKE_PULSAR__SERVICE_URL"),
        ("s3", {"endpoint": "https://s3.example"}, "STORELAKE_S3__ENDPOINT"),
        ("catalog", {"warehouse": "file:///data/lake"}, "STORELAKE_CATALOG__WAREHOUSE"),
        ("catalog", {"type": "rest", "uri": "https://catalog.example"}, "STORELAKE_CATALOG__URI"),
    ],
)
def test_external_services_are_rejected(
    tmp_path: Path, branch: str, changes: dict[str, str], named: str
) -> None:
    base = load_settings(var_dir=tmp_path)
    external = base.model_copy(update={branch: getattr(base, branch).model_copy(update=changes)})
    with (
        pytest.raises(StorelakeError, match=rf"verify-orders .* unset {named} for it"),
        fresh_deployment(external, "verify-orders", print, pulsar=True),
    ):
        raise AssertionError("the deployment started")


def test_the_lake_may_be_on_a_minio_of_the_deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "running", lambda own, _: nullcontext(with_secrets(own)))
    monkeypatch.setenv("STORELAKE_PROFILE", "full")
    base = load_settings(var_dir=tmp_path)
    with fresh_deployment(base, "verify-orders", print) as deployment:
        assert deployment.settings.wants_minio
        assert deployment.settings.s3.port != base.s3.port
        assert deployment.environment["STORELAKE_S3__PORT"] == str(deployment.settings.s3.port)


def test_data_that_was_kept_leaves_no_password_to_the_next_deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs read the password from the file, so it must be there, and be the right one."""

    @contextmanager
    def running(settings: Settings, *_: object) -> Iterator[Settings]:
        yield with_secrets(settings)

    monkeypatch.setattr(local, "running", running)
    for _ in range(2):
        with fresh_deployment(
            load_settings(var_dir=tmp_path), "verify-orders", print
        ) as deployment:
            beside = load_settings(var_dir=deployment.settings.var_dir)
            assert beside.postgres.password == deployment.settings.postgres.password is not None
            deployment.keep = True


# -- engines and maintenance -----------------------------------------------------------------------

ONE = Answer(("branch_id", "share"), (("B01", 0.5), ("B02", 1 / 3)))


def test_equal_answers_may_differ_by_the_order_of_a_sum() -> None:
    rounded = Answer(ONE.columns, (("B01", 0.5), ("B02", 1 / 3 + 1e-15)))
    assert compare({"duckdb": ONE, "spark": rounded, "trino": ONE}) is None


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (Answer(ONE.columns, (("B01", 0.5), ("B02", 0.3))), "spark and duckdb differ"),
        (Answer(ONE.columns, ONE.rows[:1]), "spark and duckdb differ"),
        (Answer(("branch_id", "part"), ONE.rows), "spark and duckdb differ"),
        ("it is away", "spark has no answer (it is away)"),
    ],
    ids=["a value", "a row less", "a column", "no answer"],
)
def test_answers_that_are_not_equal_name_the_engine(other: Answer | str, named: str) -> None:
    assert (compare({"duckdb": ONE, "spark": other, "trino": ONE}) or "").startswith(named)


@pytest.mark.requirement("L2")
def test_an_empty_answer_proves_nothing() -> None:
    empty = Answer(ONE.columns, ())
    assert compare(dict.fromkeys(("duckdb", "spark"), empty)) == "the answer of duckdb is empty"


@pytest.mark.requirement("L3")
def test_failed_maintenance_and_failed_batches_beside_it_are_faults() -> None:
    row = {"run_id": "one", "table_name": "silver.orders", "state": "failed", "note": "disk full"}
    found = maintenance([row], {"footfall": {"failed_batches": 2}}, [])
    assert found["failed_batches"] == 2
    assert found["faults"] == [
        "silver.orders could not be maintained: disk full",
        "maintenance has joined no files",
        "2 batches of footfall failed beside maintenance",
    ]


# -- injected faults -------------------------------------------------------------------------------

PRICE = InjectedFault("negative price", (r"silver\.orders\..*price.*",), ("direct",), (r".*sums",))


def failure(name: str, samples: str = "direct") -> Result:
    table, suite, expectation = name.rsplit(".", 2)
    return Result(
        table=table,
        suite=suite,
        name=expectation,
        kind="expect_something",
        severity="critical",
        state="failed",
        snapshot_id=1,
        rows=10,
        unexpected=1,
        observed=None,
        samples=json.dumps([{"position": samples}]),
        says="It is wrong.",
    )


@pytest.mark.requirement("Q1")
def test_damage_counts_as_found_only_when_a_failure_shows_it() -> None:
    named = failure("silver.orders.rows.price")
    assert match([PRICE], [named]) == ([], [])
    assert match([PRICE], []) == (["negative price"], [])
    elsewhere = failure("silver.orders.rows.price", "another row")
    assert match([PRICE], [elsewhere]) == (["negative price"], [elsewhere])


def test_what_follows_from_damage_is_no_false_alarm_and_does_not_name_it() -> None:
    follows, outsider = failure("gold.order_hourly.facts.sums"), failure("gold.x.facts.y")
    assert match([PRICE], [follows, outsider]) == (["negative price"], [outsider])


# -- the report of the demo ------------------------------------------------------------------------

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
SEEN = {"p50": 0.9, "p95": 1.4, "max": 2.0, "events": 3}
HOUR = {
    "branch_id": "B01",
    "hour": NOON,
    "local_hour": NOON + timedelta(hours=2),
    "visitors": None,
    "orders": 4,
    "conversion_rate": None,
    "conversion_rate_net": None,
    "conversion_withheld": "no visitors counted",
    "currency": "USD",
    "orders_other_currency": 1,
    "revenue": Decimal("12.50"),
    "revenue_per_visitor": None,
    "camera_coverage": 0.5,
    "orders_in_store": 3,
}


def report_of(table_format: str = "iceberg", **changes: object) -> dict[str, object]:
    """A report of a run that went well."""
    return {
        "started_at": NOON,
        "footage": "a shop",
        "baskets": "baskets",
        "lake_format": table_format,
        "orders": {"sent": 4},
        "detections": {"sent": 0},
        "past": None,
        "days": [],
        "shop": None,
        "latency_seconds": {"postgres": SEEN, table_format: SEEN | {"p95": 2.2}, "warm_up": 5.0},
        "store_hourly": [HOUR],
        "balanced": True,
        "faults": [],
        "spark_peak_mib": 900,
        "versions": {"python": "3.11"},
        "duration_seconds": 60.0,
        **changes,
    }


def page_of(report: dict[str, object], folder: Path) -> str:
    crossings = [{"crossed_at": NOON, "camera_id": "B01-entrance", "direction": "entry"}]
    readers = {"Postgres": [(NOON, 0.9)], "lake": [(NOON, 1.4)]}
    write_html(report, Pictures(readers, crossings, {}, []), folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_names_with_markup_are_text_in_the_report_and_its_pictures_are_pictures(
    tmp_path: Path,
) -> None:
    evil = "<script>alert(1)</script>"
    hour = HOUR | {"branch_id": evil}
    page = page_of(
        report_of(footage=evil, store_hourly=[hour], balanced=False, faults=[evil]), tmp_path
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3
    assert page.count("<svg") == 2


def hours_of(day: int, visitors: int, hours: int) -> list[dict[str, object]]:
    """Rows of one branch on a day of May, from eight o'clock on."""
    first = NOON.replace(day=day, hour=8)
    rows = [first + timedelta(hours=n) for n in range(hours)]
    return [
        HOUR | {"hour": at, "local_hour": at.replace(tzinfo=None), "visitors": visitors}
        for at in rows
    ]


def test_a_day_is_compared_with_the_same_hours_of_the_week_before_else_of_the_day_before() -> None:
    rows = [*hours_of(7, 10, 9), *hours_of(13, 10, 9), *hours_of(14, 15, 3)]
    today, yesterday = compare_days(group_days(rows, NOON.replace(day=20)))
    assert (today["visitors"], today["visitors_change"]) == (45, 0.5)
    assert today["against"].day == 7
    assert today["until"].hour == 11
    assert today["conversion_rate"] == 9 / 45
    assert today["average_order"] == Decimal("12.50") / 3  # of orders in the branch's currency
    assert (yesterday["against"], yesterday["visitors_change"]) == (None, None)
    rows = [*hours_of(13, 10, 9), *hours_of(14, 15, 3)]
    assert next(compare_days(group_days(rows, NOON.replace(day=20))))["against"].day == 13


def test_hours_of_the_run_are_not_compared_with_days() -> None:
    assert group_days(hours_of(1, 5, 9), NOON.replace(hour=8)) == {}


def test_the_latency_is_of_the_events_that_the_demo_sent() -> None:
    mine, others = NOON, NOON + timedelta(microseconds=1)
    seen = Latencies([(mine, 0.5), (others, 90.0)]).of({mine})
    assert seen.summary()["max"] == 0.5


def test_a_still_shows_the_frame_with_most_people_and_is_only_of_a_simulated_shop(
    stores: Stores, tmp_path: Path
) -> None:
    film = tmp_path / "B01-entrance.mp4"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"mp4v"), 5.0, (640, 360))
    for _ in range(5):
        writer.write(np.full((360, 640, 3), 90, np.uint8))
    writer.release()
    boxes = {"B01-entrance": {1: [(0.1, 0.1, 0.2, 0.4)], 3: [(0.1, 0.1, 0.2, 0.4)] * 2}}
    (still,) = stills({"B01-entrance": film, "B01-till": film}, boxes, stores)
    assert (still["camera"], still["people"]) == ("B01-entrance", 2)
    assert b64decode(still["jpeg"])[:2] == b"\xff\xd8"


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_the_report_names_the_format_that_its_second_reader_read(
    table_format: str, tmp_path: Path
) -> None:
    report = report_of(table_format)
    page = " ".join(page_of(report, tmp_path).split())
    assert f"2.2 s for a second {table_format.capitalize()} reader" in page

    terminal = Console(record=True, width=120)
    show(report, terminal)
    assert table_format in terminal.export_text()
