"""The live console in a real browser, on a real Postgres; `--screenshots FOLDER` keeps pictures."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import psycopg
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, StorageState, ViewportSize, expect

from dashboard import pages as dashboard_pages
from infra.local.process import wait_until
from infra.postgres.migrate import migrate
from infra.postgres.roles import READS
from streaming.sinks.postgres import Database
from tests.support.browser import DESK, PATIENCE, Visitor, chromium, signed_in
from tests.support.console_sandbox import (
    Sandbox,
    add_people,
    fill,
    fill_trouble,
    fill_weeks,
    insert,
    order,
    report_streams_run,
    sandbox,
    validated,
)
from tests.support.grafana import sql_panels

pytestmark = [pytest.mark.requirement("M1"), pytest.mark.timeout(600)]

PAGES = ("/", "/store", "/live", "/orders", "/pipeline", "/dead-letters", "/quality")
PHONE: ViewportSize = {"width": 390, "height": 844}
MINUTE = timedelta(minutes=1)
expect.set_options(timeout=PATIENCE)

CONTRAST = """() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = one => {
    for (; one; one = one.parentElement) {
      const colour = numbers(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('.nicegui-content *, .head *')]
    .filter(one => !one.closest('svg') && one.checkVisibility()
      && [...one.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .map(one => {
      const [a, b] = [light(numbers(getComputedStyle(one).color)), light(behind(one))];
      return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), one.textContent.trim()];
    })
    .filter(([ratio]) => ratio < 4.5);
}"""
"""Texts whose contrast is below what WCAG 2.2 (1.4.3) requests."""


IS_WHOLE = """one => {
  const [label, picture] = [one, one.closest('.picture')].map(o => o.getBoundingClientRect());
  return label.left >= picture.left - 1 && label.right <= picture.right + 1
    && label.top >= picture.top && label.bottom <= picture.bottom;
}"""
"""Whether a label is inside of its picture."""


OPEN_SOCKET = """address => new Promise(resolve => {
  const socket = new WebSocket(address);
  socket.onerror = () => resolve("error");
  socket.onmessage = () => resolve("message");
})"""


@pytest.fixture(scope="module")
def hook() -> Iterator[tuple[str, list[Any]]]:
    """Address of a receiver of alerts, and what it has received."""
    received: list[Any] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", received
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, hook: tuple[str, list[Any]]
) -> Iterator[Sandbox]:
    alerts = {"STORELAKE_ALERTS__WEBHOOK_URL": hook[0], "STORELAKE_ALERTS__HOLD": "PT0S"}
    with sandbox(tmp_path_factory.mktemp("console")) as plain:
        made = replace(plain, environment={**plain.environment, **alerts})
        with made.console():
            yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def db(shop: Sandbox) -> Iterator[Database]:
    with closing(Database(shop.settings.postgres.dsn, 2)) as database:
        yield database


@pytest.fixture(autouse=True)
def empty(db: Database, shop: Sandbox) -> None:
    with db.transaction() as connection:
        # The console of the test before may still be reading, which a TRUNCATE could deadlock with.
        for table in READS:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608
    (shop.settings.var_dir / "run" / "streams.json").unlink(missing_ok=True)


@pytest.fixture
def day(db: Database, shop: Sandbox) -> datetime:
    """A good day, with all streams running; returns its now."""
    now = datetime.now(timezone.utc)
    fill(db, shop, now)
    report_streams_run(shop)
    return now


@pytest.fixture
def troubled(day: datetime, db: Database, shop: Sandbox) -> Sandbox:
    """The same day, with something that somebody should look at on every page."""
    fill_weeks(db, shop, day)
    fill_trouble(db, day)
    add_people(shop, datetime.now(timezone.utc) - 5 * MINUTE, 60)
    validated(db, shop)
    return shop


@pytest.fixture
def session(shop: Sandbox) -> StorageState:
    return signed_in(shop.settings)


@pytest.fixture
def visitor(browser: Browser, shop: Sandbox, session: StorageState) -> Iterator[Visitor]:
    """Nobody's browser may have had anything to complain about."""
    one = Visitor(browser, shop.url, session)
    yield one
    for context in browser.contexts:
        context.close()
    assert one.complaints == []
    assert one.elsewhere == []


def test_what_a_card_reports_is_what_the_database_has(
    day: datetime, db: Database, shop: Sandbox, visitor: Visitor
) -> None:
    page = visitor.open()
    for branch in shop.stores.branches:
        (row,) = db.fetch(
            "SELECT sum(visitors) AS visitors, sum(orders) AS orders, "
            "100.0 * sum(orders) / sum(visitors) AS rate, "
            "round(sum(revenue) / sum(visitors), 2) AS per_visitor FROM store_hourly "
            "WHERE branch_id = %s AND local_hour::date = (now() AT TIME ZONE %s)::date",
            (branch.branch_id, branch.timezone),
        )
        card = page.locator(f"#branch-{branch.branch_id}")
        expect(card.locator(".visitors")).to_have_text(f"{row['visitors']:,}")
        expect(card.locator(".orders")).to_have_text(f"{row['orders']:,}")
        shown = card.locator(".conversion").inner_text().removesuffix(" %")
        assert float(shown) == pytest.approx(float(row["rate"]), abs=0.051)
        expect(card.locator(".per-visitor")).to_have_text(f"{row['per_visitor']:,} USD")
        (inside,) = db.fetch(
            "SELECT sum(entries - exits) AS people FROM footfall_minute WHERE branch_id = %s",
            (branch.branch_id,),
        )
        expect(card.locator(".inside")).to_have_text(f"{inside['people']:,}")
        expect(card.locator(".units")).to_have_text("3.0")
        expect(card.locator(".capture")).to_have_text("25.0 %")
        expect(card).to_contain_text(f"{branch.timezone} · open")
        expect(card).to_contain_text("from")
    expect(page.locator("#branch-B01 .queue")).to_have_text("2.0")
    (chain,) = db.fetch(
        "SELECT sum(s.visitors) AS visitors FROM store_hourly s "
        "WHERE s.hour > now() - interval '1 day'"
    )
    expect(page.locator("#chain .visitors")).to_have_text(f"{chain['visitors']:,}")
    expect(page.locator("#chain .money tbody th")).to_have_text(["USD"])
    page.get_by_text("The hours as a table").click()
    hours = db.fetch(
        "SELECT visitors FROM store_hourly WHERE branch_id = 'B01' "
        "AND hour > now() - interval '1 day' ORDER BY hour"
    )
    cells = page.locator("details tbody tr td:nth-child(2)")
    expect(cells).to_have_text([str(row["visitors"]) for row in hours])


def test_a_day_in_the_past_is_chosen_with_the_keyboard_and_has_its_own_figures(
    day: datetime, db: Database, shop: Sandbox, visitor: Visitor
) -> None:
    fill_weeks(db, shop, day)
    page = visitor.open()
    expect(page.locator("#week-visitors td.power").first).to_be_visible()
    expect(page.get_by_text("of the visitors in")).to_be_visible()
    shown = page.get_by_label("Day", exact=True).input_value()
    before = date.fromisoformat(shown) - timedelta(days=6)
    page.get_by_label("Day", exact=True).fill(f"{before}")
    page.get_by_label("Day", exact=True).press("Enter")
    expect(page.locator("h1")).to_have_text(f"{before:%A, %d %B %Y}")
    (row,) = db.fetch(
        "SELECT sum(visitors) AS visitors FROM store_hourly "
        "WHERE branch_id = 'B01' AND local_hour::date = %s",
        (before,),
    )
    card = page.locator("#branch-B01")
    expect(card.locator(".visitors")).to_have_text(f"{row['visitors']:,}")
    expect(card.locator(".inside")).to_have_count(0)
    page.get_by_role("link", name="The day after").click()
    expect(page.locator("h1")).to_have_text(f"{before + timedelta(days=1):%A, %d %B %Y}")
    page.goto(f"{visitor.url}/?date=tomorrow")
    expect(page.get_by_text("'tomorrow' is no date")).to_be_visible()


def test_figures_change_while_rows_arrive_and_nobody_reloads(
    day: datetime, db: Database, visitor: Visitor
) -> None:
    page = visitor.open()
    orders = page.locator("#branch-B01 .orders")
    expect(orders).not_to_be_empty()
    before = int(orders.inner_text().replace(",", ""))
    for more in (1, 2, 3):
        with db.transaction() as connection:
            connection.execute(
                "UPDATE store_hourly SET orders = orders + 1 WHERE (branch_id, hour) = "
                "(SELECT branch_id, max(hour) FROM store_hourly WHERE branch_id = 'B01' GROUP BY 1)"
            )
        expect(orders).to_have_text(f"{before + more:,}")


def test_the_map_has_dwell_and_queues_of_the_branch_that_was_chosen(
    day: datetime, visitor: Visitor
) -> None:
    page = visitor.open("/store")
    row = page.locator("#zone-B01-till-till-queue")
    expect(row).to_contain_text(
        "2.0 people on average, at most 3; 4 waits in 15 min, p95 1 min 20 s"
    )
    expect(page.locator("#camera-B01-till .picture")).to_contain_text("2.0 waiting")
    page.get_by_role("link", name="Market Square").click()
    expect(page.locator("h2").first).to_have_text("Market Square")
    expect(page.locator("#zone-B02-entrance-lobby")).to_contain_text("61")
    expect(page.get_by_role("link", name="Market Square")).to_have_attribute("aria-current", "true")


def test_people_are_shown_live_as_boxes_and_their_places_as_a_heat_map(
    day: datetime, shop: Sandbox, visitor: Visitor
) -> None:
    # Before the page is opened: what it reads of a day is kept for a minute.
    add_people(shop, datetime.now(timezone.utc) - timedelta(hours=1), 10)
    page = visitor.open("/live?branch=B02")
    card = page.locator("#live-B02-entrance")
    add_people(shop, datetime.now(timezone.utc), 10)
    expect(card).to_contain_text("2 people")
    expect(card.locator(".people rect")).to_have_count(2)
    page.get_by_label("Hour").select_option(index=1)
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#heat")).to_contain_text("Nobody was seen in this time")
    page.get_by_label("Hour").select_option("all day")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#heat")).to_contain_text("person-minutes in all")
    expect(page.locator("#heat .heat path.heat-7")).to_have_count(1)
    for label in page.locator(".label span").all():
        assert label.evaluate(IS_WHOLE), label.inner_text()


def test_orders_show_the_funnel_and_what_is_stuck(
    day: datetime, db: Database, visitor: Visitor
) -> None:
    (row,) = db.fetch(
        "SELECT sum(completed_count) AS completed, sum(order_count) AS orders FROM order_metrics "
        "WHERE branch_id = 'B01' AND hour > now() - interval '1 day'"
    )
    page = visitor.open("/orders")
    funnel = page.locator("#funnel-B01")
    expect(funnel.locator(".orders .number")).to_have_text(f"{row['orders']:,}")
    expect(funnel.locator(".completed .number")).to_have_text(f"{row['completed']:,}")
    expect(page.get_by_text("None. No open order has been untouched for 24 h.")).to_be_visible()
    stuck = order("O-stuck", "B02", day - timedelta(hours=30), status="pending")
    insert(db, "orders_processed", [stuck])
    expect(page.get_by_text("1 open order has not been touched for 24 h")).to_be_visible()
    expect(page.locator("tr", has_text="O-stuck")).to_contain_text("12.50 USD")


def test_the_pipeline_shows_each_stream_and_the_rejected_messages(
    day: datetime, db: Database, shop: Sandbox, visitor: Visitor
) -> None:
    report_streams_run(shop, store_hourly={"failures": 2})
    fill_trouble(db, day)
    past, seeded = datetime.now(timezone.utc) - timedelta(hours=1), timedelta(minutes=40)
    old = [order(f"O-past-{n}", "B02", past) for n in range(100)]
    insert(db, "orders_processed", [{**one, "updated_at": past + seeded} for one in old])
    page = visitor.open("/pipeline")
    stream = page.locator("#stream-order_event_processor")
    expect(stream).to_contain_text("running")
    expect(stream).to_contain_text("0.6 s / 0.6 s")
    expect(stream).to_contain_text("number 59, 30 rows")
    expect(page.locator("#stream-store_hourly")).to_contain_text("2 in a row failed")
    expect(page.locator("#stream-bronze_detections")).to_contain_text("only in the lake")
    expect(page.get_by_text("Lag is not known.")).to_be_visible()  # there is no Kafka here
    expect(page.get_by_text("2 rejected order messages are open.")).to_be_visible()
    expect(page.locator("tr", has_text="total_price_money")).to_contain_text("2")


def test_an_operator_finds_edits_and_sends_back_a_dead_letter(
    day: datetime, db: Database, visitor: Visitor
) -> None:
    fill_trouble(db, day)
    page = visitor.open("/dead-letters")
    page.get_by_label("rule").select_option("branch_known")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="order-created/0/1", exact=True).click()
    expect(page.locator(".differs")).to_have_text(re.compile("total_price"))
    expect(page.locator(".why")).to_contain_text("expected more than 0, got -1")
    text = page.get_by_label("Value as JSON")
    good = text.input_value().replace("-1", "2.50")
    text.fill("{")
    expect(page.locator("#check")).to_contain_text("This is no JSON: line 1, column 2")
    text.fill(good)
    expect(page.locator("#check")).to_contain_text("fits the contract")
    cookies: Any = page.context.cookies()
    page.context.clear_cookies()
    page.get_by_role("button", name="Save the edit").click()
    expect(page.locator("#unsaved")).to_contain_text("You are signed out")
    assert text.input_value() == good
    assert "401" in visitor.complaints.pop()
    page.context.add_cookies(cookies)  # signed in again, in another tab
    page.get_by_role("button", name="Save the edit").click()
    expect(page.locator("#state")).to_contain_text("edited")
    page.get_by_role("button", name="Send back as edited").click()
    page.get_by_role("link", name="All dead letters").click()  # renews itself meanwhile
    expect(page.locator("#redrive")).to_contain_text("does not answer")  # there is no Kafka here
    expect(page.locator("tr", has_text="order-created/0/1")).to_contain_text("open")
    (row,) = db.fetch("SELECT fixed_value FROM dead_letters WHERE id = 'order-created/0/1'")
    assert b'"total_price":2.50' in bytes(row["fixed_value"])
    page.get_by_role("link", name="total_price_money").first.click()
    page.get_by_role("link", name="Send all back").click()
    expect(page.locator("h2")).to_contain_text("Send back all that failed total_price_money?")


def test_quality_leads_to_the_reports_in_which_nothing_runs(
    db: Database, shop: Sandbox, visitor: Visitor, browser: Browser, session: StorageState
) -> None:
    validated(db, shop)
    page = visitor.open("/quality")
    expect(page.locator("#layer-silver")).to_contain_text("critical")
    expect(page.locator("#layer-gold")).to_contain_text("as expected")
    expect(page.locator(".failure")).to_contain_text("3 of 1,200 rows.")
    docs = page.locator(".failure").get_by_role("link", name="Data Docs").get_attribute("href")
    page.get_by_role("link", name="Open the quality report").click()
    expect(page.locator("h1")).to_have_text("Quality of every layer")
    other = browser.new_page(storage_state=session)  # unlike a visitor's it may have complaints
    other.goto(f"{shop.url}{docs}")
    expect(other.locator("h1")).to_have_text("silver.orders.rows")
    assert other.title() != "ran"
    secrets = visitor.open().request.get(f"{shop.url}/reports/..%2f..%2fsecrets.env")
    assert secrets.status == 404


def test_the_badge_of_every_page_leads_to_what_is_wrong_and_what_to_do(
    troubled: Sandbox, visitor: Visitor
) -> None:
    page = visitor.open("/orders")
    badge = page.locator(".head .badge")
    expect(badge).to_contain_text(re.compile(r"✗ \d+ alerts, \d+ critical"))
    badge.click()
    dead_letters = page.locator("#alerts li", has_text="DeadLettersOpen")
    expect(dead_letters).to_contain_text(
        "2 rejected order messages are open; most break total_price_money."
    )
    expect(dead_letters.locator("code", has_text="storelake dlq list")).to_be_visible()
    expect(page.locator("#alerts li", has_text="StreamBrokerAway")).to_be_visible()  # no Kafka here


def test_the_console_sends_without_a_browser_what_a_terminal_lists(
    shop: Sandbox, hook: tuple[str, list[Any]]
) -> None:
    assert wait_until(lambda: bool(hook[1]), PATIENCE / 1000)
    sent = {alert["labels"]["alertname"] for alert in hook[1][0]["alerts"]}
    listed = subprocess.run(
        [sys.executable, "-m", "cli.main", "alerts", "list", "--json"],
        env=dict(shop.environment),
        capture_output=True,
        check=False,
    )
    assert listed.returncode == 3, listed.stderr
    assert "StreamBrokerAway" in sent & {alert["name"] for alert in json.loads(listed.stdout)}


def test_every_panel_of_the_business_dashboard_has_rows_for_the_reader(
    day: datetime, shop: Sandbox
) -> None:
    dsn = shop.settings.acting_as("reader").postgres.dsn
    with psycopg.connect(dsn) as connection:
        for title, query in sql_panels():
            assert connection.execute(query.encode()).fetchall(), title


def test_an_empty_sandbox_reports_that_nothing_has_come_yet(visitor: Visitor) -> None:
    page = visitor.open()
    expect(page.get_by_text("No figures today yet.")).to_have_count(5)  # chain, 3 cards, chart
    expect(page.get_by_text("No streams run")).to_be_visible()
    expect(page.get_by_text("Nobody came in and nothing was sold")).to_be_visible()
    for path, text in (
        ("/store", "No frame yet."),
        ("/orders", "No orders today yet."),
        ("/pipeline", "No Spark application runs here."),
        ("/quality", "No result of a quality run."),
    ):
        page.goto(visitor.url + path)
        expect(page.get_by_text(text).first).to_be_visible()


def test_a_camera_that_falls_silent_is_named_and_found_again(
    day: datetime, db: Database, visitor: Visitor
) -> None:
    with db.transaction() as connection:
        connection.execute(
            "DELETE FROM footfall_minute WHERE camera_id = 'B01-till' AND minute > %s",
            (day - 8 * MINUTE,),
        )
    page = visitor.open()
    silent = page.locator("#branch-B01").get_by_text("Tills is silent.")
    expect(silent).to_be_visible()
    with db.transaction() as connection:
        connection.execute(
            "UPDATE footfall_minute SET minute = date_trunc('minute', now()) WHERE (camera_id, "
            "minute) = (SELECT camera_id, max(minute) FROM footfall_minute "
            "WHERE camera_id = 'B01-till' GROUP BY 1)"
        )
    expect(silent).to_have_count(0)


def test_a_part_that_may_not_be_read_is_broken_alone_until_it_may(
    day: datetime, shop: Sandbox, visitor: Visitor
) -> None:
    role = shop.settings.console.user
    with psycopg.connect(shop.settings.owner_dsn) as connection:
        connection.execute(f"REVOKE ALL ON dead_letters FROM {role}")
    page = visitor.open("/pipeline")
    expect(page.get_by_text("permission denied for table dead_letters")).to_be_visible()
    expect(page.locator("#stream-footfall")).to_contain_text("running")
    migrate(shop.settings)
    expect(page.get_by_text("No rejected order message waits for somebody.")).to_be_visible()


def test_a_database_that_continues_away_is_reported_and_its_return_seen_without_a_reload(
    day: datetime, shop: Sandbox, visitor: Visitor
) -> None:
    page = visitor.open()
    figure = page.locator("#branch-B01 .visitors")
    expect(figure).not_to_be_empty()
    before = figure.inner_text()
    assert shop.postgres.stop()
    try:
        expect(page.get_by_role("alert")).to_contain_text("Database away since")
        expect(figure).to_have_text(before)
        assert httpx.get(f"{shop.url}/health", timeout=30).json()["database"] != "answers"
    finally:
        shop.start_database()
    expect(page.get_by_text("Database away since")).to_have_count(0)
    expect(page.locator(".status")).to_contain_text("Live")


@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", DESK), ("dark", PHONE)])
def test_every_page_fits_and_can_be_read(
    scheme: str,
    size: ViewportSize,
    troubled: Sandbox,
    visitor: Visitor,
    picture: Callable[[Page, str], None],
) -> None:
    for path in PAGES:
        report_streams_run(troubled)
        if path == "/live":
            add_people(troubled, datetime.now(timezone.utc), 10)
        page = visitor.open(path, size, scheme)
        expect(page.locator(".status")).to_contain_text("Live")
        expect(page.locator("h1")).to_have_count(1)
        expect(page.get_by_text("No figures today yet")).to_have_count(0)  # the rows were read
        if path == "/live":
            expect(page.locator(".people rect")).to_have_count(4)
            expect(page.locator(".scale")).to_have_count(2)
        expect(page.get_by_role("navigation", name="Pages").get_by_role("link")).to_have_count(
            len(dashboard_pages.PAGES)
        )
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], f"{path} is wider than the screen"
        assert page.evaluate(CONTRAST) == []
        if (scheme, size) != ("dark", DESK):
            kind = "-phone" if size is PHONE else ""
            picture(page, f"{path.strip('/') or 'today'}{kind}")
        page.close()


@pytest.mark.requirement("V11")
@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", PHONE)])
def test_a_zone_is_set_by_the_keyboard_and_its_page_fits(
    scheme: str, size: ViewportSize, visitor: Visitor, picture: Callable[[Page, str], None]
) -> None:
    page = visitor.open("/zones?camera=B01-entrance", size, scheme)
    page.get_by_role("button", name="Draw a zone").focus()
    page.keyboard.press("Enter")
    corner = page.locator("#picture :focus")
    expect(corner).to_have_attribute("aria-label", "corner 1 of zone-1, 40 % across, 40 % down")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("+")
    expect(corner).to_have_attribute("aria-label", "corner 1 of zone-1, 35 % across, 40 % down")
    page.keyboard.press("Tab")
    expect(corner).to_have_attribute("aria-label", "corner 2 of zone-1, 48 % across, 40 % down")
    expect(page.locator("#save-button")).to_be_enabled()
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.evaluate(CONTRAST) == []
    picture(page, f"zones{'-phone' if size is PHONE else ''}")


def test_the_role_of_the_console_reads_what_it_shows_and_nothing_else(
    day: datetime, shop: Sandbox
) -> None:
    with psycopg.connect(shop.settings.console_dsn, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM store_hourly").fetchone() != (0,)
        for forbidden in (
            "SELECT customer_id FROM orders_processed",
            "SELECT value FROM dead_letters",
            "SELECT * FROM orders_raw",
            "DELETE FROM store_hourly",
            "CREATE TABLE mine (id int)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())


def test_nothing_is_shown_until_somebody_signs_in_and_after_they_sign_out(
    day: datetime, shop: Sandbox, browser: Browser, picture: Callable[[Page, str], None]
) -> None:
    unknown = Visitor(browser, shop.url)
    page = unknown.open("/store?branch=B02")
    expect(page.locator("h1")).to_have_text("storelake")
    expect(page.locator(".floors")).to_have_count(0)
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not right")
    assert page.evaluate(CONTRAST) == []
    picture(page, "login")
    password = shop.settings.console.operator_password
    assert password is not None
    page.get_by_label("Password").fill(password.get_secret_value())
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("h2").first).to_have_text("Market Square")
    other = Visitor(browser, shop.url, page.context.storage_state()).open("/orders")
    expect(other.locator(".status")).to_contain_text("Live")
    page.get_by_text("operator", exact=True).click()
    page.get_by_role("button", name="Sign out", exact=True).click()
    for one in (page, other):
        expect(one.get_by_label("Password")).to_be_visible()
    assert unknown.elsewhere == []
    assert not [one for one in unknown.complaints if "Content Security Policy" in one]


def test_a_page_of_another_origin_cannot_open_the_websocket(
    shop: Sandbox, browser: Browser, session: StorageState
) -> None:
    page = browser.new_page(storage_state=session)
    page.route("http://127.0.0.1:1/", lambda route: route.fulfill(body="<h1>elsewhere</h1>"))
    page.goto("http://127.0.0.1:1/")  # the same site, so that the cookie is sent along
    address = f"{shop.url.replace('http', 'ws')}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    ended = page.evaluate(OPEN_SOCKET, address)
    assert ended == "error"
    page.goto(shop.url)
    assert page.evaluate(OPEN_SOCKET, address) == "message"


def test_a_port_that_is_taken_is_one_sentence(shop: Sandbox) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "cli.main", "console"],
        env=dict(shop.environment),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert second.returncode == 1
    (message,) = second.stderr.strip().splitlines()
    assert "for the console is taken by" in message
    assert "STORELAKE_CONSOLE__PORT" in message


@pytest.fixture
def picture(pytestconfig: pytest.Config) -> Callable[[Page, str], None]:
    """Saves a picture of a page in the folder of `--screenshots`; without it nothing is written."""
    folder = pytestconfig.getoption("--screenshots")

    def keep(page: Page, name: str) -> None:
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            shot = page.screenshot(full_page="phone" not in name)
            small = Image.open(io.BytesIO(shot)).convert("RGB").quantize(128)
            small.save(Path(folder) / f"console-{name}.png", optimize=True)

    return keep
