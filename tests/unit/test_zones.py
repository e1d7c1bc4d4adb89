"""Lines and zones as data: versions, what a layout may not be, and how it looks."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from cli import zones
from conf.errors import StorelakeError
from conf.settings import CONF_DIR
from conf.stores import Stores, load_stores
from conf.stores.check import find_faults, find_oddities
from inference_service.zone_picture import RED, draw

pytestmark = pytest.mark.requirement("V7")

DEMO = CONF_DIR / "stores" / "demo.toml"
SQUARE = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5], [0.1, 0.5]]
BOW_TIE = [[0.1, 0.1], [0.5, 0.5], [0.5, 0.1], [0.1, 0.5]]
CLI = CliRunner()

CHAIN = """
version = 1
valid_from = 2024-01-01T00:00:00Z

[[branches]]
branch_id = "B01"
name = "Harbour Street"
region = "north"
timezone = "Europe/Berlin"
currency = "USD"

[[branches.cameras]]
camera_id = "B01-entrance"
name = "Main entrance"
fps = 5.0
lines = [{ line_id = "door", a = [0.65, 0.9], b = [0.65, 0.1] }]

[[branches.cameras.zones]]
zone_id = "lobby"
polygon = [[0.65, 0.1], [1.0, 0.1], [1.0, 0.9], [0.65, 0.9]]

[[branches.cameras.zones]]
zone_id = "queue"
kind = "queue"
polygon = [[0.35, 0.25], [0.6, 0.25], [0.6, 0.5], [0.35, 0.5]]
"""


def zone(polygon: list[list[float]] | None = None, **fields: Any) -> dict[str, Any]:
    return {"zone_id": "till", "kind": "queue", "polygon": polygon or SQUARE, **fields}


def stores(**camera: Any) -> Stores:
    """One branch with one camera, whose layout is valid from 2024 on."""
    fields = {"camera_id": "C-1", "name": "Entrance", "fps": 5, **camera}
    branch = {"branch_id": "B01", "name": "B", "region": "n", "timezone": "UTC"}
    tree = {"version": 1, "valid_from": "2024-01-01T00:00:00Z"}
    branches = [{**branch, "currency": "USD", "cameras": [fields]}]
    return Stores.model_validate({**tree, "branches": branches})


def redrawn(version: int, day: str, **changes: Any) -> dict[str, Any]:
    return {"version": version, "valid_from": f"2024-{day}T00:00:00Z", **changes}


def store_file(folder: Path, old: str, new: str) -> Path:
    """The chain with something else in it."""
    assert old in CHAIN
    path = folder / "stores.toml"
    path.write_text(CHAIN.replace(old, new, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(("day", "version"), [(1, 1), (29, 1), (30, 2), (31, 3)], ids=str)
def test_a_frame_is_seen_by_the_layout_of_its_day(day: int, version: int) -> None:
    chain = stores(zones=[zone()], redrawn=[redrawn(2, "01-30"), redrawn(3, "01-31")])
    _, camera = chain.camera("C-1")
    found = chain.layout_at(camera, datetime(2024, 1, day, 12, tzinfo=timezone.utc))

    assert found is not None
    assert found.version == version
    assert len(found.zones) == (version == 1)


def test_before_the_first_layout_there_is_none() -> None:
    chain = stores()
    _, camera = chain.camera("C-1")
    assert chain.layout_at(camera, datetime(2023, 12, 31, tzinfo=timezone.utc)) is None


@pytest.mark.parametrize(
    "later", [redrawn(1, "01-30"), redrawn(2, "01-01")], ids=["same version", "same instant"]
)
def test_layouts_follow_each_other(later: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="camera C-1: layout"):
        stores(redrawn=[later])


@pytest.mark.parametrize(
    ("polygon", "fault"),
    [
        (BOW_TIE, "its edges cross: the edge after corner 1 and the one after 3"),
        ([[0.1, 0.1], [0.5, 0.1], [0.3, 0.1]], "it has no area"),
        ([[0.1, 0.1], [0.1, 0.1], [0.5, 0.5]], "corners 1 and 2 are the same point"),
        ([[0.1, 0.1], [0.5, 0.5]], "at least 3 items"),
    ],
    ids=["bow tie", "flat", "twice the same corner", "two corners"],
)
def test_a_zone_is_a_polygon(polygon: list[list[float]], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        stores(zones=[zone(polygon)])


def test_a_hollow_polygon_may_be() -> None:
    horseshoe = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.6, 0.9], [0.6, 0.4], [0.4, 0.4]]
    assert stores(zones=[zone([*horseshoe, [0.4, 0.9]])])


def test_a_zone_id_is_unique_in_a_picture() -> None:
    with pytest.raises(ValidationError, match="zone_id is not unique: till"):
        stores(zones=[zone(), zone()])


def test_only_a_staff_zone_has_a_limit_for_staff() -> None:
    with pytest.raises(ValidationError, match="staff_after belongs to a zone of the kind staff"):
        stores(zones=[zone(staff_after=60)])


def test_only_a_queue_has_a_limit() -> None:
    assert stores(zones=[zone(limit=4)])
    with pytest.raises(ValidationError, match="limit belongs to a zone of the kind queue"):
        stores(zones=[zone(kind="browse", limit=4)])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "[[0.35, 0.25], [0.6, 0.25], [0.6, 0.5], [0.35, 0.5]]",
            "[[0.35, 0.25], [0.6, 0.5], [0.6, 0.25], [0.35, 0.5]]",
            "camera B01-entrance, zone queue: its edges cross: the edge after corner 1 and the one",
        ),
        (
            "[1.0, 0.9]",
            "[1.2, 0.9]",
            "camera B01-entrance, zone lobby, corner 3: 1.2 is outside the picture (0..1).",
        ),
        (
            "[1.0, 0.9]",
            "[nan, 0.9]",
            "camera B01-entrance, zone lobby, corner 3: nan is outside the picture (0..1).",
        ),
        (
            'zone_id = "queue"',
            'zone_id = "que\\u0000ue"',
            "zone_id: it has a control character.",
        ),
        (
            'zone_id = "queue"',
            'zone_id = "lobby"',
            "camera B01-entrance: zone_id is not unique: lobby.",
        ),
    ],
    ids=["crossing edges", "outside", "no number", "a control character", "an id twice"],
)
def test_a_fault_is_reported_in_the_terms_of_the_file(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    (fault,) = find_faults(store_file(tmp_path, old, new))
    assert fault.startswith("branch B01, ")
    assert sentence in fault


def test_the_files_of_the_product_have_no_fault() -> None:
    for file in (CONF_DIR / "stores").glob("*.toml"):
        assert find_faults(file) == []


def test_a_camera_without_zones_is_mentioned(tmp_path: Path) -> None:
    path = tmp_path / "stores.toml"
    path.write_text(CHAIN[: CHAIN.index("lines = ")], encoding="utf-8")

    sentences = find_oddities(path)
    assert (
        "camera B01-entrance has no zones and no lines: only its frames are counted." in sentences
    )


OUTER = {"line_id": "outer line", "a": [0.45, 0.9], "b": [0.45, 0.1]}
INNER = {"line_id": "inner line", "a": [0.65, 0.9], "b": [0.65, 0.1]}
COUNTS_TWICE = "camera C-1, lines outer line and inner line: who walks straight in crosses both"


def oddities(folder: Path, *lines: dict[str, Any]) -> str:
    """Warnings about one camera with these lines, one sentence a line."""
    path = folder / "stores.toml"
    rendered = ", ".join(
        "{ " + ", ".join(f"{k} = {json.dumps(v)}" for k, v in line.items()) + " }" for line in lines
    )
    text = CHAIN[: CHAIN.index("lines = ")].replace('"B01-entrance"', '"C-1"')
    path.write_text(f"{text}lines = [{rendered}]\n", encoding="utf-8")
    return "\n".join(find_oddities(path))


def test_two_entrance_lines_in_a_row_are_named_with_what_to_do(tmp_path: Path) -> None:
    sentences = oddities(tmp_path, OUTER, INNER)
    assert COUNTS_TWICE in sentences
    assert 'Give both the same entrance, as in entrance = "main", or one of them' in sentences


def test_lines_of_one_entrance_may_be_crossed_in_a_row(tmp_path: Path) -> None:
    main = {"entrance": "main"}
    assert "counts as two visitors" not in oddities(tmp_path, OUTER | main, INNER | main)
    assert COUNTS_TWICE in oddities(tmp_path, OUTER | {"entrance": "side"}, INNER | main)


def test_only_an_entrance_line_belongs_to_an_entrance() -> None:
    with pytest.raises(ValidationError, match="entrance belongs to a line of the kind entrance"):
        stores(lines=[{**OUTER, "kind": "count", "entrance": "main"}])


def test_two_lines_of_one_entrance_with_opposite_directions_are_named(tmp_path: Path) -> None:
    reversed_line = {"line_id": "again", "a": [0.68, 0.2], "b": [0.66, 0.9]}
    assert "lines inner line and again: they lie together and have opposite directions" in (
        oddities(tmp_path, INNER, reversed_line)
    )


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([0.98, 0.2], [0.98, 0.8]),
        ([0.04, 0.9], [0.04, 0.1]),
        ([0.2, 0.96], [0.8, 0.96]),
        ([0.8, 0.12], [0.2, 0.12]),
        ([0.02, 0.1], [0.06, 0.9]),
    ],
    ids=["right", "left", "bottom", "top", "slanted"],
)
def test_a_line_near_the_edge_of_the_picture_is_named(
    tmp_path: Path, a: list[float], b: list[float]
) -> None:
    assert "line inner line: nearer than 6% of the picture" in (
        oddities(tmp_path, INNER | {"a": a, "b": b})
    )


def test_a_line_narrower_than_a_person_is_named(tmp_path: Path) -> None:
    narrow = INNER | {"b": [0.65, 0.88]}
    assert "line inner line: it is narrower than a person" in oddities(tmp_path, narrow)


@pytest.mark.parametrize(
    ("polygon", "why"),
    [
        ("[[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [0.0, 0.1]]", "nobody can enter it"),
        ("[[0.4, 0.4], [0.42, 0.4], [0.42, 0.42], [0.4, 0.42]]", "narrower than a person"),
        ("[[0.1, 0.5], [0.9, 0.5], [0.9, 0.51], [0.1, 0.51]]", "narrower than a person"),
    ],
    ids=["above every floor", "tiny", "a thin strip"],
)
def test_a_zone_that_nobody_can_enter_is_named(tmp_path: Path, polygon: str, why: str) -> None:
    path = store_file(tmp_path, "[[0.35, 0.25], [0.6, 0.25], [0.6, 0.5], [0.35, 0.5]]", polygon)
    (sentence,) = find_oddities(path)
    assert sentence.startswith("camera B01-entrance, zone queue: ")
    assert why in sentence


PASSING = {"line_id": "pavement", "kind": "passing", "a": [0.1, 0.7], "b": [0.5, 0.7]}


def test_a_passing_line_belongs_to_every_entrance(tmp_path: Path) -> None:
    assert "counts as a passer-by, too" in oddities(tmp_path, PASSING)
    assert "passer-by" not in oddities(tmp_path, PASSING, INNER)

    path = tmp_path / "stores.toml"
    side = CHAIN[CHAIN.index("[[branches.cameras]]") : CHAIN.index("[[branches.cameras.zones]]")]
    path.write_text(path.read_text() + side, encoding="utf-8")
    assert (
        "camera B01-entrance has no passing line and others of branch B01 have one: the capture "
        "rate is too high. Draw one, too."
    ) in find_oddities(path)


def test_an_entrance_of_two_cameras_is_mentioned(tmp_path: Path) -> None:
    path = tmp_path / "stores.toml"
    text = CHAIN.replace("a = [0.65, 0.9]", 'entrance = "main", a = [0.65, 0.9]')
    camera = text[text.index("[[branches.cameras]]") : text.index("[[branches.cameras.zones]]")]
    path.write_text(text + camera.replace("B01-entrance", "B01-side"), encoding="utf-8")
    assert "cameras B01-entrance and B01-side, entrance main: the entries of both add up" in (
        " ".join(find_oddities(path))
    )


@pytest.mark.parametrize(
    "other",
    [
        {"a": [0.7, 0.8], "b": [0.6, 0.2]},
        {"a": [0.45, 0.9], "b": [0.45, 0.1]},
        {"a": [0.9, 0.9], "b": [0.3, 0.4]},
    ],
    ids=["slanted", "the same line twice", "across"],
)
def test_lines_need_not_be_parallel_to_count_twice(tmp_path: Path, other: dict[str, Any]) -> None:
    assert COUNTS_TWICE in oddities(tmp_path, OUTER, INNER | other)


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "count"},
        {"a": [0.65, 0.1], "b": [0.65, 0.9]},
        {"a": [0.65, 0.1], "b": [0.65, 0.05]},
        {"a": [0.45, 0.1], "b": [0.45, 0.0]},
        {"a": [0.9, 0.1], "b": [0.5, 0.1]},
    ],
    ids=["a counting line", "in the facing wall", "beside", "in the same wall", "round a corner"],
)
def test_two_lines_that_nobody_enters_in_a_row_are_not_mentioned(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    assert "counts as two visitors" not in oddities(tmp_path, OUTER, INNER | other)


def test_check_ends_with_an_error_that_names_every_fault(tmp_path: Path) -> None:
    path = store_file(tmp_path, "[1.0, 0.9]", "[1.2, 0.9]")
    result = CLI.invoke(zones.app, ["check", "--file", str(path)])

    assert isinstance(result.exception, StorelakeError)
    assert "zone lobby, corner 3" in str(result.exception)


def test_show_draws_zones_by_kind_and_an_entry_to_the_right_of_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORELAKE_STORES_FILE", str(store_file(tmp_path, "", "")))
    out = tmp_path / "zones.png"
    result = CLI.invoke(zones.app, ["show", "--camera", "B01-entrance", "--out", str(out)])
    assert result.exit_code == 0, result.output
    picture = cv2.imread(str(out))
    assert picture is not None
    height, width = picture.shape[:2]

    def colour(x: float, y: float) -> list[int]:
        return [int(v) for v in picture[int(y * height), int(x * width)]]

    blank = colour(0.1, 0.9)
    assert colour(0.45, 0.45) != blank  # the queue
    assert colour(0.9, 0.8) not in (blank, colour(0.45, 0.45))  # the lobby
    assert colour(0.65, 0.3) == list(RED)  # the line
    assert colour(0.69, 0.5) == list(RED)  # the arrow, to its right
    assert colour(0.61, 0.5) != list(RED)


def test_a_folder_that_cannot_be_made_and_a_file_that_is_a_folder_are_one_sentence(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "below" / "zones.png"
    shown = CLI.invoke(zones.app, ["show", "--camera", "B01-entrance", "--out", str(out)])
    assert isinstance(shown.exception, StorelakeError)
    assert f"{out} cannot be written" in str(shown.exception)
    checked = CLI.invoke(zones.app, ["check", "--file", str(tmp_path)])
    assert isinstance(checked.exception, StorelakeError)
    assert f"store file {tmp_path} cannot be read" in str(checked.exception)


def test_show_draws_on_a_frame(tmp_path: Path) -> None:
    frame, out = tmp_path / "frame.png", tmp_path / "zones.png"
    cv2.imwrite(str(frame), np.full((120, 200, 3), 200, np.uint8))
    arguments = ["show", "--camera", "B01-entrance", "--out", str(out), "--frame", str(frame)]
    assert CLI.invoke(zones.app, arguments).exit_code == 0

    picture = cv2.imread(str(out))
    assert picture is not None
    assert picture.shape == (120, 200, 3)
    assert picture[110, 20].tolist() == [200, 200, 200]


@pytest.mark.parametrize("name", ["nowhere.png", "text.png"])
def test_a_frame_that_is_none_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.png").write_text("no picture")
    arguments = ["show", "--camera", "B01-entrance", "--out", str(tmp_path / "zones.png")]
    result = CLI.invoke(zones.app, [*arguments, "--frame", str(tmp_path / name)])

    assert isinstance(result.exception, StorelakeError)
    assert name in str(result.exception)


def test_the_demo_can_be_drawn_camera_by_camera() -> None:
    chain = load_stores(DEMO)
    blank = np.zeros((90, 160, 3), np.uint8)
    for camera in (c for b in chain.branches for c in b.cameras):
        for layout in chain.layouts(camera):
            assert draw(blank, layout, camera.name).any()
