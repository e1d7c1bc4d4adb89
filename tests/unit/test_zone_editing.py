"""A layout from the browser: its checks, its arrow, and the store file afterwards."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from conf.settings import CONF_DIR, SettingsError
from conf.stores import Layout, Line, Zone, load_stores
from conf.stores.reach import entry_arrow
from dashboard.layout import WIDTH, line_shape
from dashboard.layout_edit import Checked, LayoutEdit, check_edit
from dashboard.layout_file import ChangedMeanwhileError, add_layout, digest
from inference_service import preview, zone_picture
from inference_service.detections import Detections
from udfs.geometry import signed_distance

pytestmark = pytest.mark.requirement("V11")

CAMERA = "B01-entrance"
NOW = datetime(2024, 5, 1, 12, 0, 0, 7, tzinfo=timezone.utc)
ENTRANCE = {"line_id": "front", "a": [0.65, 0.9], "b": [0.65, 0.1]}
SHELF = {"zone_id": "shelf", "polygon": [[0.1, 0.5], [0.3, 0.5], [0.3, 0.8], [0.1, 0.8]]}
INLINE = """# all in one line
version = 3
valid_from = 2024-01-01T00:00:00Z
branches = [{ branch_id = "B01", name = "H", region = "n", timezone = "UTC", currency = "USD",
    cameras = [{ camera_id = "B01-entrance", name = "c", fps = 5.0 }] }]
""".replace(",\n    ", ", ")
LISTED = """
version = 1
valid_from = 2024-01-01T00:00:00Z
[[branches]]
branch_id = "B01"
name = "H"
region = "n"
timezone = "UTC"
currency = "USD"
[[branches.cameras]]
camera_id = "B01-entrance"
name = "c"
fps = 5.0
redrawn = [{ version = 2, valid_from = 2024-02-01T00:00:00Z }]
[[branches.cameras.zones]]  # the first one
zone_id = "till"
polygon = [[0.5, 0.2], [0.9, 0.2], [0.9, 0.9], [0.5, 0.9]]
"""

REDRAWN = """
[[branches.cameras.redrawn]]
version = 2
valid_from = 2024-02-01T00:00:00Z
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "stores.toml"
    path.write_bytes((CONF_DIR / "stores" / "demo.toml").read_bytes())
    return path


def layout(version: int = 2, month: int = 6, line_id: str = "front") -> Layout:
    return Layout(
        version=version,
        valid_from=datetime(2024, month, 1, tzinfo=timezone.utc),
        lines=(Line(line_id=line_id, entrance="main", a=(0.65, 0.9), b=(0.65, 0.1)),),
        zones=(Zone.model_validate(SHELF),),
    )


def save(path: Path, new: Layout, camera: str = CAMERA) -> None:
    add_layout(path, camera, new, digest(path.read_bytes()))


def test_a_layout_is_added_and_every_other_character_remains(file: Path) -> None:
    before = file.read_text()
    save(file, layout())

    added = [row for row in file.read_text().splitlines() if row not in before.splitlines()]
    assert added[0] == "[[branches.cameras.redrawn]]"
    after = file.read_text()
    first, second = after.split("\n[[branches.cameras.redrawn]]\n")
    assert before == f"{first}\n" + second[second.index("[[branches.cameras]]") :]
    stores = load_stores(file)
    _, camera = stores.camera(CAMERA)
    assert stores.layouts(camera)[-1] == layout()


@pytest.mark.parametrize("text", [INLINE, LISTED, LISTED.replace("\n", "\r\n")])
def test_every_form_of_the_file_takes_layouts_in_a_row(tmp_path: Path, text: str) -> None:
    path = tmp_path / "stores.toml"
    path.write_bytes(text.encode())
    for version, line_id in ((4, 'the "main" one'), (5, "Tür # 1")):
        save(path, layout(version, version, line_id))

    *_, fourth, fifth = load_stores(path).camera(CAMERA)[1].redrawn
    assert [one.lines[0].line_id for one in (fourth, fifth)] == ['the "main" one', "Tür # 1"]
    assert path.read_text().startswith(text.splitlines()[0])


@pytest.mark.parametrize("newest", ["", REDRAWN], ids=["first", "second"])
def test_a_comment_stays_above_the_camera_that_it_describes(tmp_path: Path, newest: str) -> None:
    path = tmp_path / "stores.toml"
    heading = "# Tills: hidden since May\n"
    till = '[[branches.cameras]]\ncamera_id = "B01-till"\nname = "t"\nfps = 5.0\n'
    plain = LISTED[: LISTED.index("redrawn")]
    path.write_text(f"{plain}\n{newest}\n{heading}{till}")
    save(path, layout(4))
    assert f"\n{heading}{till}" in path.read_text()
    assert path.read_text().index("version = 4") < path.read_text().index(heading)


def test_a_file_without_a_last_line_break_takes_a_layout(tmp_path: Path) -> None:
    path = tmp_path / "stores.toml"
    path.write_text(LISTED[: LISTED.index("redrawn")].rstrip())
    save(path, layout(4))
    assert load_stores(path).camera(CAMERA)[1].redrawn == (layout(4),)


def test_a_file_that_changed_meanwhile_is_left_alone(file: Path) -> None:
    known = digest(file.read_bytes())
    save(file, layout())
    other = file.read_bytes()

    with pytest.raises(ChangedMeanwhileError, match="changed meanwhile"):
        add_layout(file, CAMERA, layout(3, 7), known)
    assert file.read_bytes() == other
    assert [one.name for one in file.parent.iterdir()] == ["stores.toml"]


def test_a_link_remains_one_and_the_file_keeps_its_mode(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    save(link, layout())

    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert len(load_stores(file).camera(CAMERA)[1].redrawn) == 1


@pytest.mark.parametrize("version", [1, 2])
def test_a_layout_that_does_not_follow_is_not_written(file: Path, version: int) -> None:
    save(file, layout(2, 6))
    before = file.read_bytes()
    with pytest.raises(SettingsError, match="must have a higher version"):
        save(file, layout(version, 7))
    assert file.read_bytes() == before


def test_a_disk_that_fails_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match="cannot be written: No space left"):
        save(file, layout())
    assert file.read_bytes() == before
    assert [one.name for one in file.parent.iterdir()] == ["stores.toml"]


def check(*shapes: dict[str, Any], valid_from: str = "") -> Checked:
    """The next layout of a camera in Berlin."""
    kinds = {"lines": "line_id", "zones": "zone_id"}
    given = {kind: [s for s in shapes if name in s] for kind, name in kinds.items()}
    edit = LayoutEdit(camera=CAMERA, known="", valid_from=valid_from, **given)
    return check_edit(edit, load_stores(CONF_DIR / "stores" / "demo.toml"), NOW)


def test_a_good_layout_is_the_next_version_from_now_on() -> None:
    checked = check(ENTRANCE, SHELF)

    assert (checked.faults, checked.notes) == ([], [])
    assert checked.layout is not None
    assert checked.layout.version == 2
    assert checked.layout.valid_from == NOW.replace(microsecond=0)


@pytest.mark.parametrize(
    ("shapes", "place", "field", "text"),
    [
        ([ENTRANCE | {"a": [1.2, 0.5]}], ("lines.0",), "a", "1.2 is outside the picture"),
        ([ENTRANCE | {"a": ["NaN", 0.5]}], ("lines.0",), "a", "should be a finite number"),
        ([ENTRANCE | {"line_id": ""}], ("lines.0",), "line_id", "it needs a name"),
        ([SHELF | {"zone_id": "a\0"}], ("zones.0",), "zone_id", "it has a control character"),
        ([ENTRANCE, ENTRANCE], ("lines.0", "lines.1"), None, "line_id is not unique: front"),
        ([ENTRANCE | {"b": ENTRANCE["a"]}], ("lines.0",), "b", "a line has two ends"),
        (
            [SHELF | {"polygon": [[0.1, 0.1], [0.5, 0.5], [0.5, 0.1], [0.1, 0.5]]}],
            ("zones.0",),
            "polygon",
            "its edges cross",
        ),
        ([SHELF | {"staff_after": 5}], ("zones.0",), "staff_after", "of the kind staff"),
        ([SHELF | {"polygon": [[0, 0]] * 10_000}], ("zones.0",), "polygon", "200 corners"),
        ([ENTRANCE | {"colour": "red"}], ("lines.0",), "colour", "not permitted"),
    ],
)
def test_a_fault_is_shown_at_its_shape_and_field(
    shapes: list[dict[str, Any]], place: tuple[str, ...], field: str | None, text: str
) -> None:
    checked = check(*shapes)

    assert checked.layout is None
    (fault,) = checked.faults
    assert (fault.shapes, fault.field) == (place, field)
    assert text in fault.text


@pytest.mark.parametrize(
    ("shapes", "place", "text"),
    [
        (
            [ENTRANCE, ENTRANCE | {"line_id": "inner", "a": [0.75, 0.9], "b": [0.75, 0.1]}],
            ("lines.0", "lines.1"),
            "counts as two visitors",
        ),
        ([ENTRANCE | {"a": [0.99, 0.9], "b": [0.99, 0.1]}], ("lines.0",), "crossings are a guess"),
        (
            [SHELF | {"polygon": [[0.1, 0.5], [0.12, 0.5], [0.12, 0.52], [0.1, 0.52]]}],
            ("zones.0",),
            "narrower than a person",
        ),
    ],
    ids=["two entrance lines on one way in", "on the edge", "too small"],
)
def test_a_probable_mistake_is_a_note_and_can_be_saved(
    shapes: list[dict[str, Any]], place: tuple[str, ...], text: str
) -> None:
    checked = check(*shapes)

    assert checked.layout is not None
    (note,) = checked.notes
    assert note.shapes == place
    assert text in note.text


@pytest.mark.parametrize(
    ("text", "moment"),
    [("2024-05-01T13:30", "2024-05-01T11:30"), ("2030-01-01T00:00:09", "2029-12-31T23:00:09")],
)
def test_a_time_is_by_the_clock_of_the_branch(text: str, moment: str) -> None:
    layout = check(ENTRANCE, valid_from=text).layout
    assert layout is not None
    assert layout.valid_from == datetime.fromisoformat(moment + "+00:00")


@pytest.mark.parametrize(
    "text",
    ["2023-05-01T10:00", "2024-03-31T02:30", "yesterday", "2024-05-01T10:00+05:00", "0001-01-01"],
    ids=["before the newest layout", "skipped by the clock", "no time", "of a zone", "too early"],
)
def test_a_time_that_cannot_be_is_a_fault_of_its_field(text: str) -> None:
    checked = check(ENTRANCE, valid_from=text)
    assert checked.layout is None
    assert [one.field for one in checked.faults] == ["valid_from"]


points = st.tuples(*[st.integers(0, 100).map(lambda n: n / 100)] * 2)


@given(points, points)
def test_the_arrow_points_to_where_an_entry_leads_at_right_angles(
    a: tuple[float, float], b: tuple[float, float]
) -> None:
    assume(a != b)
    line = Line(line_id="front", a=a, b=b)
    (x, y), (to_x, to_y) = entry_arrow(line, 1600, 900, 80)

    assert signed_distance(a, b, (to_x / 1600, to_y / 900)) > 0  # the side of `streaming`
    along = ((b[0] - a[0]) * 1600, (b[1] - a[1]) * 900)
    assert along[0] * (to_x - x) + along[1] * (to_y - y) == pytest.approx(0, abs=1e-6)


def test_preview_picture_and_console_show_the_same_arrow() -> None:
    blank = np.zeros((600, 800, 3), np.uint8)
    one = layout()
    pictures = (
        preview.draw(blank, Detections.empty(), one),
        zone_picture.draw(blank, one, "layout 2"),
    )
    assert np.array_equal(*pictures)
    assert pictures[0][300, 540].tolist() == list(zone_picture.RED)  # right of the line
    assert pictures[0][300, 500].tolist() != list(zone_picture.RED)
    assert line_shape(one.lines[0]).inside[0] > 0.65 * WIDTH
