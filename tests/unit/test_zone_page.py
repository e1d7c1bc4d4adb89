"""The page of zones: who may do what, what is saved, what remains of a still."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psycopg
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from conf.exporter import served
from conf.settings import CONF_DIR, ConsoleSettings, Settings, load_settings
from conf.stores import Camera, Stores, load_stores
from dashboard.app import add_guard
from dashboard.board import ReadError
from dashboard.layout_file import digest
from dashboard.recompute import FRAMES_A_SECOND, recompute_since
from dashboard.zones import ZoneEditor
from inference_service.detections import Detections
from inference_service.frames import Frame
from inference_service.stills import Stills
from tests.conftest import free_ports

pytestmark = pytest.mark.requirement("V11")

URL, CAMERA = "http://127.0.0.1:8600", "B01-entrance"
OPERATOR, VIEWER = "operator-of-the-shop", "viewer-of-the-shop"
SHELF = {"zone_id": "shelf", "polygon": [[0.1, 0.5], [0.3, 0.5], [0.3, 0.8], [0.1, 0.8]]}
NOW = datetime(2024, 5, 3, 12, 20, 5, tzinfo=timezone.utc)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "stores.toml"
    file.write_bytes((CONF_DIR / "stores" / "demo.toml").read_bytes())
    console = ConsoleSettings.model_validate(
        {"operator_password": OPERATOR, "viewer_password": VIEWER}
    )
    loaded = load_settings(profile="test", var_dir=tmp_path, stores_file=file)
    return loaded.model_copy(update={"console": console})


class Frames:
    """A database that has frames, and records what was requested."""

    def __init__(self, frames: int) -> None:
        self.frames, self.asked = frames, dict[str, datetime]()

    def ask(self, _: str, parameters: dict[str, datetime]) -> list[Any]:
        self.asked = parameters
        return [SimpleNamespace(frames=self.frames)]


@contextmanager
def look() -> Iterator[Any]:
    yield Frames(120 * FRAMES_A_SECOND)


@contextmanager
def away() -> Iterator[Any]:
    raise psycopg.OperationalError("connection refused")
    yield


def signed_in(
    settings: Settings, password: str = OPERATOR, database: Any = look, **editor: Any
) -> TestClient:
    app = FastAPI()
    add_guard(app, settings)
    ZoneEditor(settings, database, **editor).add_to(app)
    browser = TestClient(app, base_url=URL, headers={"Origin": URL}, follow_redirects=False)
    browser.post("/login", data={"password": password})
    return browser


def edit(settings: Settings, **changes: Any) -> dict[str, Any]:
    known = digest(settings.stores_file.read_bytes())
    return {"camera": CAMERA, "known": known, "lines": [], "zones": [SHELF], **changes}


def test_a_layout_is_saved_with_its_version_and_from_now_on(settings: Settings) -> None:
    shown: list[Stores] = []
    browser = signed_in(settings, saved=shown.append)
    answer = browser.post("/zones/save", json=edit(settings))

    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["version"], found["recompute"], found["is_future"]) == (2, None, False)
    assert found["known"] == digest(settings.stores_file.read_bytes())
    (stores,) = shown  # to the other pages
    (new,) = stores.camera(CAMERA)[1].redrawn
    assert stores == load_stores(settings.stores_file)
    assert [zone.zone_id for zone in new.zones] == ["shelf"]
    page = browser.get(f"/zones?camera={CAMERA}").text
    assert "Layout 2 of B01-entrance" in page
    assert '"zone_id": "shelf"' in page


def test_a_second_save_of_an_old_page_is_refused_and_can_be_repeated(settings: Settings) -> None:
    browser, old = signed_in(settings), edit(settings)
    assert browser.post("/zones/save", json=old).status_code == 200
    before = settings.stores_file.read_bytes()
    answer = browser.post("/zones/save", json=old)

    assert answer.status_code == 409
    assert "still here" in answer.json()["message"]
    assert settings.stores_file.read_bytes() == before
    later = {**old, "known": answer.json()["known"], "valid_from": "2099-01-01T00:00"}
    assert browser.post("/zones/save", json=later).json()["version"] == 3


def test_a_layout_with_a_fault_is_not_saved(settings: Settings) -> None:
    before = settings.stores_file.read_bytes()
    answer = signed_in(settings).post("/zones/save", json=edit(settings, zones=[SHELF, SHELF]))

    assert answer.status_code == 422
    assert answer.json()["faults"][0]["shapes"] == ["zones.0", "zones.1"]
    assert settings.stores_file.read_bytes() == before


def test_an_older_time_comes_with_the_command_that_counts_again(settings: Settings) -> None:
    past = (datetime.now(timezone.utc) - timedelta(hours=3)).replace(tzinfo=None)
    changes = {"camera": "B03-entrance", "valid_from": f"{past + timedelta(hours=5.5):%FT%T}"}
    found = signed_in(settings).post("/zones/save", json=edit(settings, **changes)).json()

    assert found["recompute"]["command"].startswith(
        f"storelake restate cameras --from {past:%Y-%m-%dT%H}:00Z --to "
    )
    assert found["recompute"]["minutes"] == 2


def test_a_database_that_is_away_costs_the_estimate_only(settings: Settings) -> None:
    changes = {"valid_from": "2024-06-01T10:00"}
    browser = signed_in(settings, database=away)
    found = browser.post("/zones/save", json=edit(settings, **changes)).json()
    assert found["version"] == 2
    assert found["recompute"]["frames"] is None


@pytest.mark.parametrize(
    ("since", "command", "not_before"),
    [
        ("2024-05-03T09:59", "--from 2024-05-03T09:00Z --to 2024-05-03T12:00Z", None),
        (
            "2024-05-03T12:01",
            "--from 2024-05-03T12:00Z --to 2024-05-03T13:00Z",
            "2024-05-03 13:00 UTC",
        ),
        ("2024-01-01T00:00", "--from 2024-04-30T13:00Z --to 2024-05-03T12:00Z", None),
    ],
    ids=["finished hours", "the hour at hand", "longer ago than detections are kept"],
)
def test_whole_hours_are_recomputed_of_which_all_frames_are_there(
    settings: Settings, since: str, command: str, not_before: str | None
) -> None:
    database: Any = Frames(7)
    moment = datetime.fromisoformat(since).replace(tzinfo=timezone.utc)
    found = recompute_since(settings, database, moment, NOW)

    assert found is not None
    assert found.command == f"storelake restate cameras {command}"
    assert found.not_before == not_before
    first = datetime.fromisoformat(command[7:24].replace("Z", "+00:00"))
    assert database.asked["start"] == first - timedelta(days=1)  # runs are read whole


def test_from_now_on_nothing_is_recomputed(settings: Settings) -> None:
    assert recompute_since(settings, None, NOW, NOW) is None


def test_a_viewer_sees_the_layout_and_changes_nothing(settings: Settings) -> None:
    browser, before = signed_in(settings, VIEWER), settings.stores_file.read_bytes()

    assert "Only the role operator draws" in browser.get("/zones").text
    for address in ("check", "save"):
        assert browser.post(f"/zones/{address}", json=edit(settings)).status_code == 403
    assert browser.get(f"/zones/still?camera={CAMERA}").status_code == 403
    assert settings.stores_file.read_bytes() == before


def test_a_page_of_another_site_cannot_save(settings: Settings) -> None:
    browser = signed_in(settings)
    headers = {"Origin": "https://example.org"}
    answer = browser.post("/zones/save", json=edit(settings), headers=headers)
    assert answer.status_code == 403


def test_a_store_file_that_is_broken_is_one_sentence(settings: Settings) -> None:
    browser, body = signed_in(settings), edit(settings)
    settings.stores_file.write_text("version = ")

    assert "The store file cannot be used" in browser.get("/zones").text
    for address in ("check", "save"):
        answer = browser.post(f"/zones/{address}", json=body)
        assert "is not TOML" in answer.json()["message"]


def test_a_camera_that_was_removed_meanwhile_is_one_sentence(settings: Settings) -> None:
    browser, body = signed_in(settings), edit(settings)
    file = settings.stores_file
    file.write_text(file.read_text().replace(CAMERA, "B01-side"))

    for address in ("check", "save"):
        answer = browser.post(f"/zones/{address}", json=body)
        assert (answer.status_code, "is unknown" in answer.text) == (409, True)


def test_names_of_the_store_file_cannot_run_in_the_page(settings: Settings) -> None:
    name = "</script><script>alert(1)</script>"
    signed_in(settings).post("/zones/save", json=edit(settings, zones=[SHELF | {"zone_id": name}]))
    assert "<script>alert" not in signed_in(settings).get("/zones").text


def test_a_heat_map_of_the_last_day_can_be_behind_the_layout(settings: Settings) -> None:
    def heat(camera: Camera, start: datetime, end: datetime) -> str:
        if camera.camera_id == "B01-till":
            raise ReadError("the lake does not answer")
        return f"<svg id='{camera.camera_id}-{end - start}'></svg>"

    browser = signed_in(settings, heat=heat)
    assert "a heat map" in browser.get("/zones").text
    assert "a heat map" not in signed_in(settings).get("/zones").text
    assert "B01-entrance-1 day, 0:00:00" in browser.get(f"/zones/heat?camera={CAMERA}").text
    away = browser.get("/zones/heat?camera=B01-till")
    assert (away.status_code, away.json()["message"]) == (503, "the lake does not answer")


def test_a_still_is_passed_on_to_the_operator_and_only_a_line_of_log_remains(
    settings: Settings, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    inference = settings.inference.model_copy(update={"metrics_port": port})
    settings = settings.model_copy(update={"inference": inference})
    browser, files = signed_in(settings), sorted(tmp_path.rglob("*"))
    stills = Stills([CAMERA])
    stills.observer(CAMERA)(Frame(np.zeros((9, 16, 3), np.uint8), 0, NOW), Detections.empty())

    assert "No inference service" in browser.get(f"/zones/still?camera={CAMERA}").text
    with served(CollectorRegistry(), "127.0.0.1", port, "PORT"):
        off = browser.get(f"/zones/still?camera={CAMERA}")
        assert (off.status_code, "gives no stills" in off.text) == (503, True)
    with (
        caplog.at_level(logging.INFO),
        served(CollectorRegistry(), "127.0.0.1", port, "PORT", stills.beside),
    ):
        answer = browser.get(f"/zones/still?camera={CAMERA}")
        again = browser.get(f"/zones/still?camera={CAMERA}")

    assert answer.content.startswith(b"\xff\xd8")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Captured-At"] == "2024-05-03T12:20:05+00:00"
    assert "wait a moment" in again.json()["message"]
    lines = [one.getMessage() for one in caplog.records if one.name == "dashboard.zones"]
    assert lines == [f"still of camera {CAMERA} shown to operator at testclient"]
    assert sorted(tmp_path.rglob("*")) == files
