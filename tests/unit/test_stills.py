"""Stills of a camera: off unless set, for the console only, at most one a second, never stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import cv2
import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from conf.exporter import served
from conf.settings import InferenceSettings, Settings, SettingsError, load_settings
from inference_service.detections import Detections
from inference_service.frames import Frame
from inference_service.stills import LONGER_SIDE, Stills, build_stills
from tests.conftest import free_ports

pytestmark = pytest.mark.requirement("V11")

SHARED = "of-two-machines"
NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


@contextmanager
def camera(stills: Stills) -> Iterator[httpx.Client]:
    """A client of a camera's machine."""
    (port,) = free_ports(1)
    with (
        served(CollectorRegistry(), "127.0.0.1", port, "PORT", stills.beside),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        yield client


def stills(secret: str | None = None, frame: bool = True, clock: float = 0.0) -> Stills:
    made = Stills(["B01-entrance", "Tür/1"], secret, lambda: clock)
    if frame:
        image = np.full((1000, 2000, 3), 90, np.uint8)
        for one in ("B01-entrance", "Tür/1"):
            made.observer(one)(Frame(image, 0, NOON), Detections.empty())
    return made


def test_a_still_is_the_newest_frame_made_smaller_with_its_time() -> None:
    with camera(stills()) as client:
        answer = client.get("/still/B01-entrance")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Captured-At"] == "2024-05-01T12:00:00+00:00"
    picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (LONGER_SIDE // 2, LONGER_SIDE, 3)


def test_metrics_are_served_beside_the_stills() -> None:
    with camera(stills()) as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/still/T%C3%BCr%2F1").status_code == 200


def test_one_still_a_second_of_each_camera() -> None:
    with camera(stills()) as client:
        codes = [client.get(f"/still/{c}").status_code for c in ("B01-entrance",) * 2 + ("Tür/1",)]
    assert codes == [200, 429, 200]


def test_what_is_not_there_is_one_sentence() -> None:
    with camera(stills(frame=False)) as client:
        assert client.get("/still/B01-entrance").text == "The camera has sent no frame yet."
        assert client.get("/still/other").status_code == 404
        assert client.post("/still/B01-entrance").status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "camera.example"},
        {"Origin": "http://127.0.0.1:8600"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=["a name that resolves to this machine", "a script of a page", "a picture of a page"],
)
def test_a_page_in_a_browser_gets_no_still(headers: dict[str, str]) -> None:
    with camera(stills()) as client:
        assert client.get("/still/B01-entrance", headers=headers).status_code == 403


def test_with_a_secret_only_who_has_it_gets_one() -> None:
    with camera(stills(SHARED)) as client:
        given = [None, "Bearer wrong", SHARED, f"Bearer {SHARED}"]
        headers = [{"Authorization": one} if one else {} for one in given]
        codes = [client.get("/still/B01-entrance", headers=h).status_code for h in headers]
    assert codes == [403, 403, 403, 200]


def settings(host: str = "127.0.0.1", **inference: object) -> Settings:
    changed = InferenceSettings.model_validate(inference)
    return load_settings(profile="test").model_copy(
        update={"inference": changed, "metrics_host": host}
    )


def test_stills_are_off_until_somebody_wants_them() -> None:
    assert build_stills(settings(), ["C-1"]) is None
    assert build_stills(settings(stills=True), ["C-1"]) is not None


@pytest.mark.parametrize(
    ("host", "changes", "variable"),
    [
        ("0.0.0.0", {}, "STORELAKE_INFERENCE__STILLS_SECRET"),  # noqa: S104
        ("127.0.0.1", {"metrics_port": 0}, "STORELAKE_INFERENCE__METRICS_PORT"),
    ],
)
def test_stills_that_cannot_be_served_safely_are_an_error_at_the_start(
    host: str, changes: dict[str, object], variable: str
) -> None:
    with pytest.raises(SettingsError, match=variable):
        build_stills(settings(host, stills=True, **changes), ["C-1"])
