"""The reports of a real deployment, opened in a real browser that reaches nothing but the files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import great_expectations.expectations as gxe
import pytest
from playwright.sync_api import Page, ViewportSize, expect

from quality import suite as suites
from quality.engines import Engines
from quality.report import build_report
from quality.run import ValidationPlan, run_quality
from quality.store import QualityError
from tests.stream.sandbox import Sandbox
from tests.support.browser import chromium
from tests.support.builders import order_event

pytestmark = [pytest.mark.timeout(600), pytest.mark.requirement("Q1")]

PHONE, DESK = ViewportSize(width=390, height=844), ViewportSize(width=1280, height=900)
ORDERS = suites.RowSuite(
    table="silver.orders",
    sample=("topic", "partition", "position"),
    expectations=(
        suites.expect(
            "order_id_present",
            "An order has no id.",
            gxe.ExpectColumnValuesToNotBeNull,
            column="order_id",
        ),
        suites.expect(
            "branch_known",
            "An order is of another branch.",
            gxe.ExpectColumnValuesToBeInSet,
            column="branch_id",
            value_set=["B01"],
        ),
        suites.expect(
            "customer_known",
            "Orders come from unknown customers.",
            gxe.ExpectColumnValuesToMatchRegex,
            "warning",
            column="customer_id",
            regex=r"^C\d+\Z",
        ),
    ),
)
NEVER = suites.RowSuite(table="silver.line_crossings", sample=(), expectations=())
PERSON = "Jane Doe"


@pytest.fixture(scope="module")
def index(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first page of a shop that has sold well, badly, and to somebody with a name."""
    sandbox.send_order(
        order_event(order_id="A-1"),
        order_event(order_id="A-2", branch_id="B02", customer_id=PERSON),
        order_event(order_id=""),
    )
    sandbox.run("order_event_processor")
    with closing(Engines(sandbox.settings)) as engines:
        for _ in range(2):
            run_quality(
                sandbox.settings,
                ValidationPlan(),
                lambda _: None,
                engines=engines,
                suites=(ORDERS, NEVER),
            )
    out = tmp_path_factory.mktemp("report")
    return build_report(sandbox.settings, out, suites=(ORDERS, NEVER))


@dataclass
class Reader:
    """A user with a browser.

    Attributes:
        page: what is open.
        asked: addresses that the browser went to.
        complaints: errors in its console.
    """

    page: Page
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with chromium() as browser:
        reader = Reader(browser.new_page())
        reader.page.on("request", lambda request: reader.asked.append(request.url))
        reader.page.on("console", lambda line: reader.complaints.append(line.text))
        reader.page.on("pageerror", lambda error: reader.complaints.append(str(error)))
        yield reader


def test_a_person_finds_what_failed_and_what_it_means(
    index: Path, reader: Reader, tmp_path: Path
) -> None:
    page = reader.page
    page.set_viewport_size(DESK)
    page.goto(index.as_uri())
    expect(page.locator("h1")).to_have_text("Quality of every layer")
    failures = page.locator(".failure")
    expect(failures).to_have_count(2)
    expect(failures.first).to_contain_text("silver.orders.rows.branch_known critical")
    expect(failures.first).to_contain_text("An order is of another branch. 1 of 2 rows (50 %).")
    row = page.locator("tr", has_text="silver.line_crossings")
    expect(row).to_contain_text("empty")
    expect(page.locator("tr", has_text="silver.orders").first).to_contain_text("1 of 3")
    expect(page.locator("figure svg").first).to_be_visible()
    expect(page.locator("#quarantined")).to_contain_text("order_id_present")
    page.screenshot(path=tmp_path / "summary.png", full_page=True)

    failures.first.get_by_role("link", name="Data Docs").click()
    expect(page.locator("h1")).to_have_text("silver.orders")
    expect(page.locator("#branch_known")).to_contain_text('value_set: ["B01"]')
    expect(page.locator("#branch_known")).to_contain_text("B02")
    page.screenshot(path=tmp_path / "data-docs.png", full_page=True)
    page.get_by_label("only what is not as expected").check()
    expect(page.locator("#order_id_present")).to_be_hidden()
    expect(page.locator("#branch_known")).to_be_visible()
    assert PERSON not in page.content()

    page.get_by_role("link", name="All tables").click()
    expect(page.locator("h1")).to_have_text("Quality of every layer")
    assert PERSON not in page.content()


def test_it_reads_well_on_a_phone_in_the_dark(index: Path, reader: Reader, tmp_path: Path) -> None:
    page = reader.page
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    for name in ("index", "data-docs/silver.orders.rows"):
        page.goto((index.parent / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(227, 233, 238)"
        page.screenshot(path=tmp_path / f"{Path(name).name}.png", full_page=True)


def test_the_pages_need_no_network_and_the_browser_has_nothing_to_complain_of(
    index: Path, reader: Reader
) -> None:
    reader.page.goto(index.as_uri())
    assert reader.asked
    assert not [url for url in reader.asked if not url.startswith(("file:", "data:"))]
    assert reader.complaints == []


def test_pages_of_suites_that_are_gone_go_and_a_folder_in_the_way_is_one_sentence(
    index: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    page = build_report(sandbox.settings, tmp_path / "out", suites=(ORDERS,))
    assert [path.name for path in (page.parent / "data-docs").iterdir()] == [
        "silver.orders.rows.html"
    ]
    build_report(sandbox.settings, tmp_path / "out", suites=(NEVER,))
    assert not list((page.parent / "data-docs").iterdir())
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(QualityError, match="The report cannot be written to"):
        build_report(sandbox.settings, tmp_path / "file", suites=(ORDERS,))
