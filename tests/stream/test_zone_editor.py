"""A zone set by mouse in a browser: streams count in it at once, and what was before by command."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Locator, Page, expect
from pydantic import SecretStr

from conf.settings import Settings
from conf.stores import Line
from conf.stores.reach import entry_arrow
from dashboard.app import add_guard
from dashboard.assets import add_assets
from dashboard.reader import Reader
from dashboard.zones import ZoneEditor
from infra.local.process import wait_until
from streaming.recompute.cameras import restate_cameras
from tests.conftest import free_ports
from tests.stream.sandbox import Rows, Sandbox
from tests.stream.test_restate_cameras import STORES
from tests.support.browser import Visitor, chromium, signed_in
from tests.support.builders import as_json, detection, detection_event

pytestmark = [pytest.mark.timeout(600), pytest.mark.requirement("V11")]

HOUR = timedelta(hours=1)
FIRST = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - 2 * HOUR
"""The hour of the walks: it is over, and its detections are kept."""
SHELF = ((0.1, 0.5), (0.4, 0.5), (0.4, 0.9), (0.1, 0.9))
VISITS = (
    "SELECT track_id, layout_version FROM zone_visits WHERE zone_id = 'shelf' AND NOT withdrawn"
)


def walk(sandbox: Sandbox, person: str, minute: int) -> None:
    """Stands at the place of the shelf for six seconds, and then elsewhere for ten."""
    for index in range(80):
        x = 0.25 if index < 30 else 0.75
        at = FIRST + timedelta(minutes=minute, seconds=index / 5)
        event = detection_event(
            run_id=f"run-{person}",
            frame_index=index,
            captured_at=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            detections=[detection(track_id=person, bbox=[x - 0.05, 0.3, x + 0.05, 0.7])],
        )
        sandbox.broker.produce("detections", as_json(event), b"B01-entrance", timestamp=at)


@contextmanager
def editor(settings: Settings) -> Iterator[str]:
    """The address of a console that has only the page of zones."""
    app = FastAPI()
    add_guard(app, settings)
    add_assets(app, "style.css")
    with closing(Reader(settings.postgres.dsn, timedelta(seconds=5))) as reader:
        ZoneEditor(settings, reader.look).add_to(app)
        console = settings.console
        server = uvicorn.Server(uvicorn.Config(app, console.host, console.port, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        assert wait_until(lambda: server.started, 60)
        yield console.url
        server.should_exit = True
        thread.join(20)


def click_at(picture: Locator, x: float, y: float) -> None:
    """Click at a place of the picture, in shares."""
    box = picture.bounding_box()
    assert box is not None
    picture.page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


@dataclass
class Story:
    """What the operator saw, and the visits of the new zone before and after the recomputation."""

    arrow: list[float] = field(default_factory=list)
    command: str = ""
    counted: Rows = field(default_factory=list)
    recomputed: Rows = field(default_factory=list)
    dwell: Rows = field(default_factory=list)

    def draw(self, page: Page) -> None:
        """Set the corners of a zone, turn the line, name the zone, save for the hour before."""
        picture = page.locator("#picture")
        page.get_by_role("button", name="Draw a zone").click()
        for x, y in (*SHELF, SHELF[0]):
            click_at(picture, x, y)
        expect(page.locator("#picture .zones")).to_have_count(2)
        row = page.locator("#shapes .shape").nth(2)
        row.get_by_label("name").fill("till")
        expect(row).to_contain_text("zone_id is not unique: till")
        expect(page.locator("#save-button")).to_be_disabled()
        row.get_by_label("name").fill("shelf")
        expect(page.locator("#picture .bad")).to_have_count(0)
        shown = page.locator("#picture .entry")
        self.arrow = [float(shown.get_attribute(name) or "") for name in ("x1", "y1", "x2", "y2")]
        local = FIRST.astimezone(ZoneInfo("Europe/Berlin"))
        page.locator("#valid-from").fill(f"{local:%Y-%m-%dT%H:%M:00}")
        expect(page.get_by_label("a time in Europe/Berlin")).to_be_checked()
        page.get_by_role("button", name="Save as a new layout").click()
        expect(page.locator("#result")).to_contain_text("Saved as layout 2")
        self.command = page.locator("#result code").inner_text()


@pytest.fixture(scope="module")
def story(new_sandbox: Callable[[], Sandbox], tmp_path_factory: pytest.TempPathFactory) -> Story:
    seen, sandbox = Story(), new_sandbox()
    file: Path = tmp_path_factory.mktemp("stores") / "stores.toml"
    file.write_text(STORES, encoding="utf-8")
    console = sandbox.settings.console.model_copy(
        update={"port": free_ports(1)[0], "operator_password": SecretStr("operator-of-the-test")}
    )
    sandbox.settings = sandbox.settings.model_copy(update={"stores_file": file, "console": console})
    with chromium() as browser, editor(sandbox.settings) as url:
        visitor = Visitor(browser, url, signed_in(sandbox.settings))
        walk(sandbox, "anna", 10)
        steps = (
            lambda: seen.draw(visitor.open("/zones?camera=B01-entrance")),
            lambda: walk(sandbox, "ben", 20),
        )
        sandbox.run("bronze_detections", "footfall", steps=steps)
        assert (visitor.complaints, visitor.elsewhere) == ([], [])
    seen.counted = sandbox.query(VISITS)
    start, end = (datetime.fromisoformat(t) for t in re.findall(r"\S+Z", seen.command))
    restate_cameras(sandbox.settings, start, end, lambda _: None)
    seen.recomputed = sandbox.query(VISITS)
    seen.dwell = sandbox.query(
        "SELECT hour, visits, dwell_mean FROM zone_dwell_hourly WHERE zone_id = 'shelf'"
    )
    return seen


def test_running_streams_count_with_the_new_layout_from_the_next_frame_on(story: Story) -> None:
    assert story.counted == [{"track_id": "ben", "layout_version": 2}]


def test_the_command_of_the_page_counts_the_hours_since_then(story: Story) -> None:
    assert {row["track_id"] for row in story.recomputed} == {"anna", "ben"}
    (hour,) = story.dwell
    assert (hour["hour"], hour["visits"]) == (FIRST, 2)
    assert hour["dwell_mean"] == pytest.approx(6, abs=1)


def test_the_arrow_of_the_browser_is_that_of_all_other_pictures(story: Story) -> None:
    line = Line(line_id="front", a=(0.3, 1.0), b=(0.3, 0.0))
    start, tip = entry_arrow(line, 800, 600, 46)
    assert story.arrow == pytest.approx([*start, *tip])
