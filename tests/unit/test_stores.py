"""Stores as data: what a store file may not contain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from conf.settings import CONF_DIR, SettingsError
from conf.stores import Line, Stores, load_stores
from conf.stores.watch import StoreFile

DEMO = CONF_DIR / "stores" / "demo.toml"


def branch(branch_id: str = "B01", camera_id: str = "C-1", **overrides: Any) -> dict[str, Any]:
    """A branch with one camera."""
    return {
        "branch_id": branch_id,
        "name": "Harbour Street",
        "region": "north",
        "timezone": "Europe/Berlin",
        "currency": "USD",
        "cameras": [{"camera_id": camera_id, "name": "Main entrance", "fps": 5}],
        **overrides,
    }


def stores(*branches: dict[str, Any], **overrides: Any) -> Stores:
    """Version 1 of these branches."""
    tree = {"version": 1, "valid_from": "2024-01-01T00:00:00Z", "branches": branches}
    return Stores.model_validate({**tree, **overrides})


def store_file(folder: Path, text: str) -> Path:
    path = folder / "stores.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_demo_has_a_line_at_every_entrance() -> None:
    cameras = {c.camera_id: c for b in load_stores(DEMO).branches for c in b.cameras}
    assert {"B01-entrance", "B01-till", "B02-entrance", "B03-entrance"} == set(cameras)
    for camera_id, camera in cameras.items():
        entrance = any(line.kind == "entrance" for line in camera.lines)
        assert entrance == camera_id.endswith("-entrance")


def test_the_tills_of_the_demo_have_a_queue() -> None:
    _, tills = load_stores(DEMO).camera("B01-till")
    assert {zone.kind for zone in tills.zones} == {"queue", "browse"}


def test_a_camera_is_found_with_its_branch() -> None:
    found, camera = load_stores(DEMO).camera("B02-entrance")
    assert (found.branch_id, camera.camera_id) == ("B02", "B02-entrance")


def test_an_unknown_camera_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"'B09-entrance' is unknown.*B01-entrance"):
        load_stores(DEMO).camera("B09-entrance")


def test_a_camera_id_is_unique_in_the_whole_chain() -> None:
    with pytest.raises(ValidationError, match="camera_id is not unique: C-1"):
        stores(branch("B01", "C-1"), branch("B02", "C-1"))


def test_a_branch_id_is_unique() -> None:
    with pytest.raises(ValidationError, match="branch_id is not unique: B01"):
        stores(branch("B01", "C-1"), branch("B01", "C-2"))


@pytest.mark.parametrize("zone", ["Europe/Berln", "", "../etc/passwd", "CEST+2"])
def test_a_time_zone_must_be_known(zone: str) -> None:
    with pytest.raises(ValidationError, match="unknown time zone"):
        stores(branch(timezone=zone))


def test_a_chain_has_a_branch() -> None:
    with pytest.raises(ValidationError, match="branches"):
        stores()


def test_the_start_of_a_layout_needs_a_time_zone() -> None:
    with pytest.raises(ValidationError, match="valid_from"):
        stores(branch(), valid_from="2024-01-01T00:00:00")


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="time_zone"):
        stores(branch(time_zone="Europe/Berlin"))


@pytest.mark.parametrize("point", [(1.1, 0.5), (0.5, -0.1)])
def test_a_line_lies_in_the_picture(point: tuple[float, float]) -> None:
    with pytest.raises(ValidationError):
        Line(line_id="entrance", a=point, b=(0.5, 0.5))


def test_a_line_has_two_different_ends() -> None:
    # Of a point, nothing can be on the left or the right.
    with pytest.raises(ValidationError, match="a and b"):
        Line(line_id="entrance", a=(0.5, 0.5), b=(0.5, 0.5))


def test_a_missing_store_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml does not exist"):
        load_stores(tmp_path / "nowhere.toml")


def test_a_store_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"stores\.toml is not TOML"):
        load_stores(store_file(tmp_path, "version = = 1"))


def test_an_invalid_store_file_is_rejected_with_the_place(tmp_path: Path) -> None:
    text = DEMO.read_text(encoding="utf-8").replace("fps = 5.0", "fps = 0", 1)
    with pytest.raises(SettingsError, match=r"branches\.0\.cameras\.0\.fps"):
        load_stores(store_file(tmp_path, text))


def test_a_password_in_a_store_file_is_refused() -> None:
    def camera(source: str) -> list[dict[str, Any]]:
        return [{"camera_id": "C-1", "name": "Entrance", "fps": 5, "source": source}]

    ok = stores(branch(cameras=camera("rtsp://10.0.0.7:554/main")))
    assert ok.branches[0].cameras[0].source == "rtsp://10.0.0.7:554/main"
    with pytest.raises(ValidationError, match="STORELAKE_INFERENCE__SOURCES"):
        stores(branch(cameras=camera("rtsp://user:p4ss@10.0.0.7:554/main")))


def test_a_store_file_is_read_again_when_it_has_changed_and_fits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "stores.toml"
    text = DEMO.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    file = StoreFile(path)
    before = file.stores

    path.write_text(text + "# a comment\n", encoding="utf-8")
    assert not file.reload()
    for broken in ("version = ", text.replace("version = 1", "version = 0"), b"\xff"):
        path.write_bytes(broken if isinstance(broken, bytes) else broken.encode())
        assert [file.reload(), file.reload()] == [False, False]
        assert file.stores == before
    path.unlink()
    assert not file.reload()
    assert caplog.text.count("is not used") == 4

    path.write_text(text.replace("Harbour Street", "Pier"), encoding="utf-8")
    assert [file.reload(), file.reload()] == [True, False]
    assert file.stores.branches[0].name == "Pier"
