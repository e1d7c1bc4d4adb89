"""The page Live without a browser: boxes, traces and heat maps of a small lake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace as Row
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from markupsafe import Markup
from pyiceberg.table import Table

from conf.settings import Settings, load_settings
from conf.stores import Line, Stores, Zone
from dashboard import live_tracks
from dashboard.board import ReadError
from dashboard.layout import line_shape, zone_shape
from dashboard.live import SIZE, people_svg, shapes
from dashboard.live_heat import COLUMNS, ROWS, HeatMaps, bounds, heat_svg
from dashboard.live_lake import DetectionsReader
from dashboard.live_period import choose
from dashboard.live_tracks import BEHIND, QUIET, LiveTracks
from dashboard.sections import render
from tests.support.small_lake import detection, detections, make_detections, open_lake

pytestmark = pytest.mark.requirement("M1")

SECOND, FRAME = timedelta(seconds=1), timedelta(seconds=0.2)


@dataclass
class Lake:
    """`silver.detections` and a database whose clock a test moves."""

    table: Table
    settings: Settings
    now: datetime

    def add(self, *rows: dict[str, Any]) -> None:
        self.table.append(detections(*rows))

    @contextmanager
    def look(self) -> Iterator[Any]:
        where = self.table.metadata_location
        yield Row(at=self.now, ask=lambda *_: [Row(metadata_location=where)])

    @property
    def reader(self) -> DetectionsReader:
        return DetectionsReader(self.settings, self.look)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with closing(open_lake(tmp_path)) as catalog:
        yield Lake(
            make_detections(catalog), load_settings(var_dir=tmp_path), datetime.now(timezone.utc)
        )


@pytest.fixture
def tracks(lake: Lake) -> LiveTracks:
    return LiveTracks(lake.reader, 0.0)


def test_people_are_followed_from_commit_to_commit(
    lake: Lake, tracks: LiveTracks, stores: Stores
) -> None:
    branch, start = stores.branches[0], lake.now - 3 * SECOND
    elsewhere = detection(start, 0.5, 0.5, branch_id="B02", camera_id="B02-entrance")
    lake.add(*(detection(start + n * FRAME, 0.5 + n / 100, 0.6) for n in range(5)), elsewhere)
    first = tracks.fresh(branch).cameras
    lake.now += 2 * SECOND
    lake.add(detection(start + SECOND, 0.6, 0.6), detection(start + SECOND, 0.8, 0.9, track="8"))
    view = tracks.fresh(branch)

    assert list(first) == list(view.cameras) == ["B01-entrance"]
    camera = view.cameras["B01-entrance"]
    walked, stood = camera.present
    assert [box.feet for box in walked][::5] == [(0.5, 0.6), pytest.approx((0.6, 0.6))]
    assert (len(walked), len(stood), camera.size) == (6, 1, (1280, 720))
    lobby = Zone(zone_id="l", polygon=((0.7, 0.5), (1, 0.5), (1, 1), (0.7, 1)))
    assert camera.people_in(lobby) == 1

    svg = people_svg(camera, start + 4 * FRAME, 2.0)
    assert f"--dx: {-0.06 * SIZE:.0f}px; --dy: 0px" in svg
    assert svg.count("<rect") == 2
    assert "run-1" not in svg


def test_the_pictures_have_boxes_heat_and_the_layout(
    lake: Lake, tracks: LiveTracks, stores: Stores
) -> None:
    branch, at = stores.branches[0], lake.now
    lake.add(detection(at - FRAME, 0.4, 0.5), detection(at, 0.5, 0.5))
    layout = stores.layout_at(branch.cameras[0], at)
    assert layout
    names = [*(zone.zone_id for zone in layout.zones), *(line.line_id for line in layout.lines)]
    view = tracks.fresh(branch)
    people = people_svg(view.cameras["B01-entrance"], None, 2.0)
    common = {"camera": branch.cameras[0], **shapes(layout), "size": (1280, 720)}
    picture = render("live_picture", people=Markup(people), **common)  # noqa: S704
    maps = HeatMaps(lake.reader, lambda: stores)
    heat = maps.heat_grid(branch.cameras[0], at - SECOND, at + SECOND)
    heat_paths = Markup(heat_svg(heat))  # noqa: S704
    card = render("live_heat", minutes=1.0, scale=[0, 0.5], cell="1", heat=heat_paths, **common)
    assert picture.count("<rect") == 1
    assert card.count('<path class="heat-') == 1
    for html in (picture, card):
        assert "aspect-ratio: 1280 / 720" in html
        assert all(f"<span>{name}</span>" in html for name in names)


def test_only_the_newest_commits_are_read(
    lake: Lake, tracks: LiveTracks, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.add(detection(lake.now, 0.1, 0.5))
    lake.now += 10 * SECOND
    read: list[int] = []
    follow = live_tracks.follow

    def counted(known: Any, rows: pa.Table, at: datetime) -> Any:
        read.append(len(rows))
        return follow(known, rows, at)

    monkeypatch.setattr(live_tracks, "follow", counted)
    assert tracks.fresh(stores.branches[0]).cameras == {}
    for x in (0.2, 0.3):
        lake.add(detection(lake.now, x, 0.5))
        tracks.fresh(stores.branches[0])
    tracks.fresh(stores.branches[0])
    assert read == [1, 1]


def test_a_car_is_nobody_and_whoever_has_left_is_shown_no_longer(
    lake: Lake, tracks: LiveTracks, stores: Stores
) -> None:
    branch, left = stores.branches[0], lake.now - 5 * SECOND
    lake.add(detection(left, 0.5, 0.5), detection(lake.now, 0.2, 0.5, track="8"),
             detection(lake.now, 0.7, 0.5, track="9", **{"class": "car"}))  # fmt: skip
    view = tracks.fresh(branch)
    camera = view.cameras["B01-entrance"]
    assert [track[-1].feet[0] for track in camera.present] == [pytest.approx(0.2)]
    assert len(camera.tracks) == 2  # the trace of who has left fades
    assert camera.is_current(lake.now)
    assert not camera.is_current(lake.now + QUIET + SECOND)


def test_positions_that_come_late_are_not_shown_as_the_present(
    lake: Lake, tracks: LiveTracks, stores: Stores
) -> None:
    lake.add(detection(lake.now - BEHIND - SECOND, 0.5, 0.5))
    camera = tracks.fresh(stores.branches[0]).cameras["B01-entrance"]
    assert camera.is_behind
    assert not camera.is_current(lake.now)


def test_a_heat_map_has_the_seconds_that_people_stood_on_each_place(
    lake: Lake, stores: Stores
) -> None:
    start, camera = datetime(2024, 5, 1, 10, tzinfo=timezone.utc), stores.branches[0].cameras[0]
    stood = [detection(start + n * FRAME, 0.01, 0.01) for n in range(50)]
    corner = [detection(start + n * FRAME, 1.0, 1.0, track="8") for n in range(50)]
    slower = [
        detection(start + timedelta(minutes=5) + n * 0.5 * SECOND, 0.5, 0.5) for n in range(11)
    ]
    lake.add(*stood, *corner, *slower)
    lake.add(
        detection(start - FRAME, 0.01, 0.01),
        detection(start, 0.01, 0.01, camera_id="B01-till"),
        detection(start, 0.01, 0.01, **{"class": "dog"}),
    )
    heat = HeatMaps(lake.reader, lambda: stores)
    grid = heat.heat_grid(camera, start, start + timedelta(hours=1))

    assert grid.shape == (ROWS, COLUMNS)
    assert grid[0, 0] == grid[-1, -1] == pytest.approx(10.0)
    assert grid[ROWS // 2, COLUMNS // 2] == pytest.approx(10 * 0.5 + 0.2)
    assert grid.sum() == pytest.approx(25.2)
    assert heat.heat_grid(camera, start - timedelta(hours=1), start).sum() == pytest.approx(0.2)


def test_the_colours_of_a_heat_map_rise_with_the_time_and_no_place_is_coloured_without() -> None:
    grid = np.zeros((ROWS, COLUMNS))
    assert "path" not in heat_svg(grid)
    assert bounds(grid) == []
    grid[3, 5], grid[3, 6] = 1.0, 600.0
    svg = heat_svg(grid)
    assert '<path class="heat-1" d="M5 3h1v1h-1z"/>' in svg
    assert '<path class="heat-7" d="M6 3h1v1h-1z"/>' in svg
    assert svg.count("<path") == 2


def test_why_there_are_no_positions_is_one_sentence(lake: Lake, stores: Stores) -> None:
    @contextmanager
    def denied() -> Iterator[Any]:
        raise psycopg.errors.InsufficientPrivilege("permission denied for view")
        yield

    @contextmanager
    def without() -> Iterator[Any]:
        yield Row(at=lake.now, ask=lambda *_: [])

    @contextmanager
    def gone() -> Iterator[Any]:
        where = lake.table.metadata_location.replace(".metadata.json", "x.metadata.json")
        yield Row(at=lake.now, ask=lambda *_: [Row(metadata_location=where)])

    delta = lake.settings.catalog.model_copy(update={"format": "delta"})
    in_delta = lake.settings.model_copy(update={"catalog": delta})
    for settings, look, reason in (
        (in_delta, lake.look, "positions need Iceberg"),
        (lake.settings, denied, "run `storelake migrate`"),
        (lake.settings, without, "there is no silver.detections yet"),
        (lake.settings, gone, "metadata.json"),
    ):
        reader = DetectionsReader(settings, look)
        view = LiveTracks(reader, 2.0).fresh(stores.branches[0])
        assert reason in str(view.error)
        with pytest.raises(ReadError, match=reason):
            HeatMaps(reader, lambda: stores).heat_grid(
                stores.branches[0].cameras[0], lake.now, lake.now + SECOND
            )


NOON = datetime(2026, 10, 25, 12, tzinfo=timezone.utc)
"""Of the Sunday on which clocks in Berlin go back an hour."""


def test_days_have_the_hours_of_the_clock_of_the_branch() -> None:
    kept = timedelta(hours=72)
    today = choose(None, None, NOON, "Europe/Berlin", kept)
    assert today.days == tuple(date(2026, 10, day) for day in (25, 24, 23, 22))
    assert (today.day, today.end - today.start) == (date(2026, 10, 25), timedelta(hours=25))
    assert len(today.hours) == 15  # up to now
    third = choose("2026-10-25", "3", NOON, "Europe/Berlin", kept)
    assert third.start == datetime(2026, 10, 25, 1, tzinfo=timezone.utc)
    assert third.end - third.start == timedelta(hours=1)


@pytest.mark.parametrize(("day", "hour"), [("2026-10-21", ""), ("x", "-1"), ("", "99"), ("'", "'")])
def test_a_period_that_there_is_not_is_today(day: str, hour: str) -> None:
    chosen = choose(day, hour, NOON, "Europe/Berlin", timedelta(hours=72))
    assert (chosen.day, chosen.hour) == (date(2026, 10, 25), None)


@pytest.mark.parametrize("x", [0.0, 0.05, 0.3, 0.5, 0.65, 0.95, 1.0])
@pytest.mark.parametrize("y", [0.0, 0.5, 1.0])
def test_labels_fit_into_the_picture_wherever_a_line_or_a_zone_is(x: float, y: float) -> None:
    other = (1 - x, 0.4)
    zone = Zone(zone_id="z", polygon=((x, y), other, (0.51, 0.47)))
    lines = [Line(line_id="l", a=(x, y), b=b) for b in (other, (x, 0.45), (0.45, y))]
    lines += [Line(line_id="l", a=line.b, b=line.a) for line in lines]
    for label in (zone_shape(zone).label, *(line_shape(line).label for line in lines)):
        assert label.left >= 0
        assert label.left + label.width <= 100
        assert label.width >= 25
        assert 9 <= label.top <= 91
