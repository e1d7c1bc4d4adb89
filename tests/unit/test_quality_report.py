"""Reports of validation: what the pages show, and what they must not show."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import great_expectations.expectations as gxe
import pyarrow as pa
import pytest

from conf.settings import Settings, load_settings
from quality import documents
from quality.engines import Engines
from quality.pages import suite_page, summary_page
from quality.suite import RowSuite, expect
from quality.summary import QualitySummary, Quarantined, Standing, summarise

pytestmark = pytest.mark.requirement("Q1")

NOW = datetime(2024, 5, 1, 12, 0, tzinfo=timezone.utc)
MARKUP = "<script>document.title = 'taken'</script>"

SUITE = RowSuite(
    table="silver.orders",
    sample=("topic", "position"),
    expectations=(
        expect(
            "order_id_present",
            "An order has no id.",
            gxe.ExpectColumnValuesToNotBeNull,
            column="order_id",
        ),
        expect(
            "status_known",
            "A status is not one of <ours>.",
            gxe.ExpectColumnValuesToBeInSet,
            column="status",
            value_set=["pending", "completed"],
        ),
        expect(
            "customer_known",
            "Orders come from few customers.",
            gxe.ExpectColumnValuesToMatchRegex,
            "warning",
            column="customer_id",
            regex=r"^C\d+\Z",
        ),
        expect(
            "customers_few",
            "Orders come from others.",
            gxe.ExpectColumnDistinctValuesToBeInSet,
            "warning",
            column="customer_id",
            value_set=["C1"],
        ),
        expect(
            "customer_most_common",
            "Somebody buys all.",
            gxe.ExpectColumnMostCommonValueToBeInSet,
            "warning",
            column="customer_id",
            value_set=["C1"],
        ),
        expect(
            "once",
            "An order is there twice.",
            gxe.ExpectCompoundColumnsToBeUnique,
            column_list=["order_id", "customer_id"],
        ),
        expect(
            "nobody_moved",
            "An order was moved.",
            gxe.ExpectColumnValuesToBeNull,
            column="moved",
        ),
        expect(
            "shop_present",
            "A shop is missing.",
            gxe.ExpectColumnValuesToNotBeNull,
            column="shop",
        ),
    ),
)
ROWS = pa.table(
    {
        "topic": ["order-created"] * 4,
        "position": ["1", "2", "3", "4"],
        "order_id": ["A", "B", "B", "D"],
        "customer_id": ["C1", "Jane Doe", "Jane Doe", "C1"],
        "status": ["pending", "pending", MARKUP, "completed"],
        "moved": [None, None, None, "north"],
    }
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings(var_dir=tmp_path_factory.mktemp("var"))


@pytest.fixture(scope="module")
def kept(engines: Engines, settings: Settings) -> Path:
    """The file of one suite that was really validated."""
    validated = engines.validate_rows(SUITE, ROWS)
    documents.keep(settings, "run-1", NOW, {"silver.orders.rows": validated})
    return documents.documents_of(settings) / "silver.orders.rows.json"


class Read(HTMLParser):
    """The text of a page, and what it would make a browser load and run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self._words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self._words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._words).split())


def docs_page(settings: Settings) -> str:
    return suite_page(documents.read(settings)["silver.orders.rows"])


def test_the_newest_result_of_a_suite_is_kept_without_personal_data(kept: Path) -> None:
    text = kept.read_text(encoding="utf-8")
    assert "Jane" not in text
    assert "Traceback" not in text
    document = json.loads(text)
    results = {one["expectation_config"]["meta"]["name"]: one for one in document["results"]}
    assert results["customer_known"]["result"]["unexpected_count"] == 2
    assert results["customer_known"]["result"]["partial_unexpected_index_list"] == [
        {"topic": "order-created", "position": "2"},
        {"topic": "order-created", "position": "3"},
    ]
    assert results["status_known"]["result"]["partial_unexpected_list"] == [MARKUP]
    assert document["meta"]["run_id"] == {"run_name": "run-1", "run_time": NOW.isoformat()}
    assert [path.name for path in kept.parent.iterdir()] == [kept.name], "no half-written file"


def test_a_later_run_replaces_the_results_of_what_it_validated_and_no_others(
    engines: Engines, tmp_path: Path
) -> None:
    context = load_settings(var_dir=tmp_path)
    validated = engines.validate_rows(SUITE, ROWS)
    documents.keep(
        context, "run-1", NOW, {"silver.orders.rows": validated, "silver.x.rows": validated}
    )
    documents.keep(context, "run-2", NOW, {"silver.orders.rows": validated})
    runs = {name: d["meta"]["run_id"]["run_name"] for name, d in documents.read(context).items()}
    assert runs == {"silver.orders.rows": "run-2", "silver.x.rows": "run-1"}


def test_a_folder_that_cannot_be_written_costs_the_documents_and_not_the_run(
    engines: Engines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "quality").write_text("in the way", encoding="utf-8")
    validated = engines.validate_rows(SUITE, ROWS)
    documents.keep(load_settings(var_dir=tmp_path), "run-1", NOW, {"silver.orders.rows": validated})
    assert "no Data Docs of this run" in caplog.text


def test_a_document_that_is_broken_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = load_settings(var_dir=tmp_path)
    folder = documents.documents_of(context)
    folder.mkdir(parents=True)
    (folder / "silver.orders.rows.json").write_text("{", encoding="utf-8")
    assert documents.read(context) == {}
    assert "silver.orders.rows.json is left out" in caplog.text


def test_data_docs_show_each_expectation_its_result_and_what_a_failure_means(
    kept: Path, settings: Settings
) -> None:
    text = Read(docs_page(settings)).text
    assert "silver.orders Not as expected. 7 of 8 expectations are not met." in text
    assert "Suite silver.orders.rows , validated 2024-05-01 12:00:00 UTC" in text
    assert (
        'expect_column_values_to_be_in_set column: status, value_set: ["pending", "completed"]'
        in text
    )
    assert "1 of 4 rows (25 %)" in text
    assert "status_known , critical: A status is not one of <ours>." in text
    assert f"Such as topic position status order-created 3 {MARKUP}" in text
    moved = text.split("nobody_moved")[1].split("once")[0]
    assert "order-created 4" in moved
    assert 'The column "shop" in BatchData does not exist.' in text
    assert text.index("status_known") < text.index("order_id_present"), "what failed comes first"


def test_data_docs_name_no_person_run_no_script_and_load_nothing(
    kept: Path, settings: Settings
) -> None:
    page = docs_page(settings)
    assert "Jane" not in page
    read = Read(page)
    assert MARKUP in read.text, "a value is shown as what it is"
    assert "script" not in read.tags
    assert "//" not in page
    assert set(read.addresses) == {"data:,", "../index.html"}


def result(**changes: Any) -> dict[str, Any]:
    """A row of `quality_results` as the report reads it: passed, in silver.orders."""
    row: dict[str, Any] = {
        "run_id": "run-2",
        "ran_at": NOW,
        "layer": "silver",
        "table_name": "silver.orders",
        "suite": "rows",
        "expectation": "order_id_present",
        "severity": "critical",
        "state": "passed",
        "row_count": 200,
        "unexpected_count": 0,
        "unexpected_share": 0.0,
        "observed": None,
        "samples": [],
        "says": "An order has no id.",
        "since": None,
    }
    return row | changes


def failed(**changes: Any) -> dict[str, Any]:
    return result(
        state="failed",
        unexpected_count=3,
        unexpected_share=0.015,
        observed="3 of 200 rows",
        samples=[{"topic": "order-created", "position": "7"}],
        since=NOW - timedelta(minutes=5),
        **changes,
    )


SUITES = {
    "bronze.order_events": ["rows"],
    "silver.orders": ["rows", "counts"],
    "silver.detections": ["rows"],
    "gold.store_hourly": ["rows"],
    "postgres.orders_processed": ["counts"],
}
STANDINGS = {
    "silver.orders": Standing(NOW, 0, NOW - timedelta(hours=1)),
    "silver.detections": Standing(NOW - timedelta(days=3), 2, NOW - timedelta(days=3), True),
    "gold.store_hourly": Standing(empty=True),
}


def point(minutes: int, critical: int) -> dict[str, Any]:
    return {
        "layer": "silver",
        "at": NOW - timedelta(minutes=minutes),
        "critical": critical,
        "warning": 1,
        "worst_share": 0.015,
    }


def summary(*newest: dict[str, Any], now: datetime = NOW) -> QualitySummary:
    return summarise(newest, [point(2, 0), point(1, 1)], STANDINGS, SUITES, now)


def states(of: QualitySummary) -> dict[str, str]:
    return {table.name: table.state for layer in of.layers for table in layer.tables}


def words(of: QualitySummary, *quarantined: Quarantined, now: datetime = NOW) -> str:
    return Read(summary_page(of, list(quarantined), {"silver.orders.rows": ""}, now)).text


def test_a_table_is_as_good_as_the_worst_of_its_suites() -> None:
    of = summary(
        failed(severity="warning"),
        failed(suite="counts", expectation="sums"),
        result(layer="postgres", table_name="postgres.orders_processed", suite="counts"),
    )
    assert states(of) == {
        "bronze.order_events": "unjudged",
        "silver.orders": "failed",
        "silver.detections": "unjudged",
        "gold.store_hourly": "empty",
        "postgres.orders_processed": "passed",
    }
    assert states(summary(failed(severity="warning"), result(suite="counts")))["silver.orders"] == (
        "warned"
    )


def test_results_of_a_suite_that_is_gone_are_no_failure() -> None:
    assert not summary(failed(suite="rows of last year")).failures


def test_what_failed_last_comes_first() -> None:
    long_ago = failed(expectation="old") | {"since": NOW - timedelta(days=1)}
    of = summary(long_ago, failed(severity="warning", expectation="mild"), failed())
    assert [one["expectation"] for one in of.failures] == ["order_id_present", "mild", "old"]


def test_the_page_shows_the_state_of_every_table() -> None:
    text = words(summary(failed(), result(suite="counts")))
    assert "1 critical expectation is not met." in text
    assert "3 tables were not validated." in text
    assert "bronze.order_events never validated" in text
    assert (
        "silver.orders failed 1 of 2 1.5 % 2024-05-01 12:00:00 is still at 2024-05-01 11:00:00"
        in (text)
    )
    assert "silver.detections not validated since 2024-04-28 12:00:00" in text
    assert "2 newer commits newest snapshot" in text
    assert "gold.store_hourly empty" in text


def test_the_page_shows_what_a_failure_means_since_when_and_where() -> None:
    text = words(summary(failed(says="An order has <no> id.")))
    assert "An order has <no> id. 3 of 200 rows (1.5 %)." in text
    assert "Rows such as topic=order-created, position=7" in text
    assert "Since 2024-05-01 11:55:00 UTC · Data Docs" in text
    page = summary_page(summary(failed()), [], {"silver.orders.rows": ""}, NOW)
    assert "data-docs/silver.orders.rows.html#order_id_present" in Read(page).addresses


def test_the_page_shows_the_trend_and_quarantine_by_rule() -> None:
    rejected = Quarantined("quarantine.order_events", "order_id_present", 1200, NOW, "No id.")
    page = summary_page(summary(result()), [rejected], {}, NOW)
    assert page.count("<svg") == 2, "failures and shares of the one layer that has two runs"
    assert "quarantine.order_events order_id_present 1,200 2024-05-01 12:00:00 No id." in (
        Read(page).text
    )
    assert "http-equiv" in page
    assert not [address for address in Read(page).addresses if "//" in address]


def test_rows_without_a_time_are_in_the_page_without_one() -> None:
    meaning = "No time."
    timeless = Quarantined("quarantine.order_events", "broker_metadata_readable", 3, None, meaning)
    text = Read(summary_page(summary(result()), [timeless], {}, NOW)).text
    assert f"quarantine.order_events broker_metadata_readable 3 \N{EN DASH} {meaning}" in text


def test_a_layer_without_a_failure_has_a_sentence_in_place_of_a_plot() -> None:
    calm = [point(2, 0) | {"warning": 0}, point(1, 0) | {"warning": 0}]
    page = summary_page(summarise([result()], calm, STANDINGS, SUITES, NOW), [], {}, NOW)
    assert "<svg" not in page
    assert "Nothing has failed in 2 runs." in Read(page).text


def test_without_a_validation_the_page_shows_what_to_do() -> None:
    text = words(summarise([], [], {}, SUITES, NOW))
    assert "Nothing has been validated yet: run storelake quality run ." in text
    assert "Quarantined rows" in text


def test_the_page_marks_an_old_newest_run() -> None:
    later = NOW + timedelta(hours=3)
    assert "No run since then: start one" in words(summary(result(), now=later), now=later)
    assert "No run since then" not in words(summary(result()))
