"""The simulated shop: everybody leaves again, buyers pay once, and pictures show the truth."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from cli.main import app
from conf.settings import CONF_DIR, SettingsError, load_settings
from conf.stores import Branch, load_stores
from simulator.shop import FPS, HEIGHT, WIDTH, ShopDay, Shot, Truth, sum_up, write_pictures
from simulator.shop.doorway import at_the_doorway
from simulator.shop.figures import draw_look
from simulator.shop.pictures import SIDE, label_pictures
from simulator.shop.render import open_day, render_day
from simulator.shop.shoppers import CURVE, ENTRY_SECONDS, PATIENCE, TILLS, arrivals, live_a_day
from simulator.shop.till import FREE_AFTER, Comer, Turn, serve
from streaming.transforms.track import person
from streaming.transforms.tracks import CameraRun, Rules, layouts_by_camera
from tests.support.accounts import account, paid

STORES = load_stores(CONF_DIR / "stores" / "demo.toml")
OPENING = datetime(2024, 5, 1, 8, tzinfo=timezone.utc)
ORDER = Draft202012Validator(
    json.loads((CONF_DIR / "contracts" / "order_event.v3.json").read_text(), parse_float=Decimal),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)


def shop_day(shoppers: int = 24, seed: int = 3, **options: Any) -> ShopDay:
    branch = options.pop("branch", STORES.branches[0])
    return ShopDay(
        branch, shoppers=shoppers, seed=seed, start=OPENING, open_seconds=50.0, **options
    )


@pytest.fixture(scope="module")
def day() -> ShopDay:
    return shop_day()


@pytest.fixture(scope="module")
def truths(day: ShopDay) -> list[Truth]:
    return day.truth()


# -- shoppers --------------------------------------------------------------------------------------


def test_everybody_enters_once_and_leaves_once(truths: list[Truth]) -> None:
    assert len(truths) == 24
    for truth in truths:
        assert [c.direction for c in truth.crossings] == ["entry", "exit"]
        assert truth.crossings[0].second < truth.crossings[1].second


def test_the_last_one_has_left_before_the_pictures_end(day: ShopDay, truths: list[Truth]) -> None:
    assert max(c.second for t in truths for c in t.crossings) < day.seconds
    assert max(s.ends for s in day.shoppers) < day.frames / FPS


def test_who_pays_does_so_between_coming_and_going(truths: list[Truth]) -> None:
    buyers = [t for t in truths if t.paid is not None]
    assert 0 < len(buyers) < len(truths)
    for buyer in buyers:
        assert buyer.crossings[0].second < (buyer.paid or 0) < buyer.crossings[1].second


def test_who_pays_has_queued_and_who_gives_up_has_not(truths: list[Truth]) -> None:
    for truth in truths:
        queued = [v for v in truth.visits if v.kind == "queue"]
        assert len(queued) == (truth.paid is not None)
        assert not (truth.gave_up and truth.paid is not None)


def test_nobody_is_at_two_places_at_once(day: ShopDay) -> None:
    for shopper in day.shoppers:
        for before, after in pairwise(shopper.paths):
            assert before.ends < after.begins
        for path in shopper.paths:
            seconds = [stop[0] for stop in path.stops]
            assert seconds == sorted(seconds)


def test_people_come_by_the_daily_curve() -> None:
    seconds = arrivals(5000, 50_000.0, Random(1))
    hours = Counter(min(int(s / 50_000 * len(CURVE)), len(CURVE) - 1) for s in seconds)
    expected = [5000 * part / sum(CURVE) for part in CURVE]
    # Four standard deviations of a Poisson count.
    assert all(abs(hours[i] - n) < 4 * n**0.5 for i, n in enumerate(expected))


def test_one_at_a_time_walks_through_the_door() -> None:
    people = live_a_day(120, 120.0, seed=1)
    for way in (0, -1):  # in, out
        begins = sorted(p.paths[way].begins for p in people)
        assert min(b - a for a, b in pairwise(begins)) > ENTRY_SECONDS - 1e-6


def test_a_crowd_makes_some_give_up() -> None:
    people = live_a_day(150, 150.0, seed=2)
    assert any(p.gave_up for p in people)
    assert all(p.paid is None for p in people if p.gave_up)


# -- the street ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def street() -> list[Truth]:
    day = ShopDay(STORES.branches[0], shoppers=60, seed=5, start=OPENING, passers=20)
    return day.truth()


def test_who_passes_by_crosses_the_passing_line_once_and_no_entrance(street: list[Truth]) -> None:
    passers = [t for t in street if t.shopper_id.startswith("P")]
    assert 10 < len(passers) <= 20
    assert all([c.kind for c in t.crossings] == ["passing"] for t in passers)
    assert {c.direction for t in passers for c in t.crossings} == {"entry", "exit"}


def test_a_companion_is_of_the_group_of_the_shopper(street: list[Truth]) -> None:
    group_ids = {t.shopper_id: t.group_id for t in street}
    companions = [i for i in group_ids if i.endswith("b")]
    assert len(companions) > 10
    for companion in companions:
        assert group_ids[companion] == group_ids[companion.removesuffix("b")]
    assert all((group_ids[i] is None) == i.startswith("P") for i in group_ids)


def test_the_sums_count_groups_and_passers_by(street: list[Truth]) -> None:
    total = sum_up(street)
    assert total["passers_by"] == sum(t.shopper_id.startswith("P") for t in street)
    assert total["groups"] < 60 < total["entries"] == total["shoppers"]


# -- the queue -------------------------------------------------------------------------------------


def comer(decides: float, service: float = 10.0) -> Comer:
    return Comer(decides, way=lambda _: 2.0, to_till=lambda _: 1.0, service=service)


def taken(turns: list[Turn | None]) -> list[Turn]:
    return [turn for turn in turns if turn is not None]


def test_the_first_walks_straight_to_the_till() -> None:
    (turn,) = taken(list(serve([comer(5.0)], tills=1, patience=5)))
    assert (turn.place, turn.moves) == (0, ())
    assert (turn.arrives, turn.called, turn.pays) == (7.0, 7.0, 18.0)


def test_the_second_waits_for_the_till_to_be_free() -> None:
    first, second = taken(list(serve([comer(0.0), comer(1.0)], tills=1, patience=5)))
    assert second.place == 1
    assert second.called == first.pays + FREE_AFTER


def test_a_second_till_serves_beside_the_first() -> None:
    first, second = taken(list(serve([comer(0.0), comer(1.0)], tills=2, patience=5)))
    assert second.till != first.till
    assert second.called < first.pays


def test_who_finds_too_many_ahead_turns_away_and_holds_nobody_up() -> None:
    turns = list(serve([comer(number / 10) for number in range(5)], tills=1, patience=2))
    assert [turn is None for turn in turns] == [False, False, True, True, True]


def test_who_came_first_is_served_first_and_no_till_has_two() -> None:
    turns = taken(list(serve([comer(n * 3.0, 4 + n % 5) for n in range(60)], 2, PATIENCE)))
    assert [t.called for t in turns] == sorted(t.called for t in turns)
    for till in range(len(TILLS)):
        mine = [t for t in turns if t.till == till]
        assert all(after.called >= before.pays + FREE_AFTER for before, after in pairwise(mine))


# -- orders ----------------------------------------------------------------------------------------


def test_each_buyer_has_one_order_at_the_time_of_paying(day: ShopDay, truths: list[Truth]) -> None:
    created = [e for e in day.orders() if e.event_type == "order.created"]
    assert len({e.order_id for e in created}) == len(created)
    paid = {t.order_id: day.start + timedelta(seconds=t.paid) for t in truths if t.paid is not None}
    assert {e.order_id: e.event_time for e in created} == paid


def test_nobody_else_has_one(truths: list[Truth]) -> None:
    assert all((t.order_id is None) == (t.paid is None) for t in truths)


def test_every_order_event_keeps_the_contract_and_its_total(day: ShopDay) -> None:
    for event in day.orders():
        document = json.loads(event.value, parse_float=Decimal)
        assert list(ORDER.iter_errors(document)) == []
        order = document["order"]
        if "items" in order:
            assert order["total_price"] == account(order) == paid(order)
            assert order["channel"] == "in_store"


def test_every_order_is_completed(day: ShopDay) -> None:
    last = {event.order_id: event.status for event in day.orders()}
    assert set(last.values()) == {"completed"}


def test_two_runs_of_one_day_sell_the_same_under_other_ids() -> None:
    one, two = shop_day(10).orders(), shop_day(10, run_id="another").orders()
    assert not {e.order_id for e in one} & {e.order_id for e in two}
    assert [e.total_price for e in one] == [e.total_price for e in two]


# -- pictures and truth ----------------------------------------------------------------------------


def busy(day: ShopDay, camera_id: str, count: int = 60) -> list[Shot]:
    return list(islice(day.shots(camera_id), 100, 100 + count))


def test_the_same_seed_films_the_same_bytes() -> None:
    one, two = (busy(shop_day(), "B01-entrance", 20) for _ in range(2))
    assert all(
        (a.image == b.image).all() and a.people == b.people for a, b in zip(one, two, strict=True)
    )
    other = busy(shop_day(seed=4), "B01-entrance", 20)
    assert any((a.image != b.image).any() for a, b in zip(one, other, strict=True))


def test_a_picture_is_what_the_service_expects(day: ShopDay) -> None:
    shot = next(day.shots("B01-till"))
    assert (shot.image.shape, shot.image.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert (shot.index, shot.captured_at) == (0, OPENING)


def test_where_nobody_is_the_pictures_differ_by_noise_and_light_only(day: ShopDay) -> None:
    first, second = islice(day.shots("B01-till"), 2)
    assert first.people == second.people == ()
    apart = np.abs(first.image.astype(int) - second.image.astype(int))
    assert 0 < apart.mean() < 12


def follow_the_boxes(day: ShopDay, camera_id: str) -> tuple[list[Any], list[Any]]:
    """Crossings and ended visits, as the streams find them when every box is perfect."""
    run = CameraRun(layouts_by_camera(STORES)[camera_id], Rules())
    crossings, visits = [], []
    for shot in day.shots(camera_id):
        people = []
        for shopper_id, box in shot.people:
            x1, y1, x2, y2 = np.clip(np.array(box) / [WIDTH, HEIGHT, WIDTH, HEIGHT], 0, 1)
            if x1 < x2 and y1 < y2:
                people.append(person(shopper_id, (x1, y1, x2, y2), WIDTH / HEIGHT))
        at = round((shot.captured_at - day.start).total_seconds() * 1e6)
        effects = run.receive(shot.index, int(OPENING.timestamp() * 1e6) + at, people)
        crossings += effects.crossings
        visits += [v for v in effects.visits if not v.is_open]
    return crossings, visits


def since_opening(microseconds: int) -> float:
    return microseconds / 1e6 - OPENING.timestamp()


@pytest.mark.requirement("V6")
def test_the_boxes_cross_the_line_where_the_truth_does(day: ShopDay, truths: list[Truth]) -> None:
    crossings, _ = follow_the_boxes(day, "B01-entrance")
    found = {(c.track_id, c.direction): since_opening(c.crossed_at) for c in crossings}
    true = {(c.shopper_id, c.direction): c.second for t in truths for c in t.crossings}
    assert found.keys() == true.keys()
    assert len(crossings) == len(true)
    assert max(abs(found[key] - true[key]) for key in true) < 3 / FPS


@pytest.mark.requirement("V6")
def test_who_stands_in_the_doorway_or_turns_on_the_mat_is_counted_as_it_happened() -> None:
    scenes = shop_day(1)
    scenes.shoppers, scenes.others = [], at_the_doorway(6, 60.0, seed=3)
    true = Counter((c.shopper_id[-1], c.direction) for t in scenes.truth() for c in t.crossings)
    stand, turn = "14", "25"
    assert true == {(n, d): 1 for n in stand + turn for d in ("entry", "exit")}
    crossings, _ = follow_the_boxes(scenes, "B01-entrance")
    assert Counter((c.track_id[-1], c.direction) for c in crossings) == true


@pytest.mark.requirement("V6")
def test_the_boxes_dwell_where_the_truth_does(day: ShopDay, truths: list[Truth]) -> None:
    _, visits = follow_the_boxes(day, "B01-till")
    found = {(v.track_id, v.zone_id): (v.exited_at - v.entered_at) / 1e6 for v in visits}
    true = {
        (v.shopper_id, v.zone_id): v.seconds
        for t in truths
        for v in t.visits
        if v.camera_id == "B01-till"
    }
    assert found.keys() == true.keys()
    assert np.mean([abs(found[key] - true[key]) for key in true]) < 1.0


def test_another_layout_is_another_truth(day: ShopDay) -> None:
    branch = STORES.branches[0].model_dump()
    for camera in branch["cameras"]:
        for zone in camera["zones"]:
            zone["polygon"] = [(x, y / 10) for x, y in zone["polygon"]]  # up on the wall
        for line in camera["lines"]:
            line["a"], line["b"] = line["b"], line["a"]  # out is in
    redrawn = sum_up(shop_day(branch=Branch.model_validate(branch)).truth())
    assert redrawn["zones"] == {}
    assert (redrawn["entries"], redrawn["exits"]) == (24, 24)
    first = shop_day(branch=Branch.model_validate(branch)).truth()[0]
    assert [c.direction for c in first.crossings] == ["exit", "entry"]


def test_the_totals_are_those_of_everybody(truths: list[Truth]) -> None:
    total = sum_up(truths)
    assert (total["shoppers"], total["entries"], total["exits"]) == (24, 24, 24)
    assert total["conversion"] == round(total["buyers"] / 24, 4)
    assert total["zones"]["B01-till/till-queue"]["visits"] == total["buyers"]


def test_a_day_without_shoppers_sells_nothing() -> None:
    assert sum_up([])["conversion"] is None


# -- files -----------------------------------------------------------------------------------------


def test_a_rendered_day_holds_video_truth_and_orders(tmp_path: Path) -> None:
    settings = load_settings(var_dir=tmp_path)
    short = open_day(settings, shoppers=2, seed=5, start=OPENING, seconds=2)
    progress: list[int] = []
    rendered = render_day(short, tmp_path / "day", progress.append)
    assert set(rendered.videos) == {"B01-entrance", "B01-till"}
    for video in rendered.videos.values():
        capture = cv2.VideoCapture(str(video))
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == short.frames
        assert capture.get(cv2.CAP_PROP_FPS) == FPS
        capture.release()
    assert progress[-1] == 2 * short.frames
    lines = [json.loads(line) for line in rendered.truth.read_text().splitlines()]
    assert [line["shopper_id"] for line in lines] == ["S00001", "S00002", "S00002b", "P00001"]
    assert lines[0]["crossings"][0]["at"] > "2024-05-01T08:00:00"
    sold = [
        json.loads(line)["order"]["order_id"] for line in rendered.orders.read_text().splitlines()
    ]
    assert set(sold) == {line["order_id"] for line in lines} - {None}


def test_a_store_file_without_the_shop_is_rejected_with_its_name(tmp_path: Path) -> None:
    text = (CONF_DIR / "stores" / "demo.toml").read_text().replace('"B01"', '"B11"')
    (tmp_path / "stores.toml").write_text(text)
    settings = load_settings(var_dir=tmp_path, stores_file=tmp_path / "stores.toml")
    with pytest.raises(SettingsError, match=r"stores\.toml has no branch B01"):
        open_day(settings, shoppers=1, seed=1)


def test_a_file_in_the_place_of_the_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "day").write_text("mine")
    result = CliRunner().invoke(app, ["shop", "render", "--out", str(tmp_path / "day")])
    assert result.exit_code == 2
    assert "is a file" in result.output
    assert (tmp_path / "day").read_text() == "mine"


def test_the_command_renders_the_day_and_prints_its_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORELAKE_VAR_DIR", str(tmp_path))
    command = [
        "shop",
        "render",
        "--out",
        str(tmp_path / "day"),
        "--shoppers",
        "1",
        "--seconds",
        "1",
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    totals = json.loads(result.stdout)
    assert (totals["entries"], totals["groups"], totals["passers_by"]) == (2, 1, 1)
    assert (tmp_path / "day" / "truth.ndjson").is_file()


def test_a_label_lies_in_its_picture() -> None:
    people = 0
    for image, boxes in label_pictures(12, seed=1):
        assert image.shape == (SIDE, SIDE, 3)
        for x1, y1, x2, y2 in boxes:
            assert 0 <= x1 < x2 <= SIDE
            assert 0 <= y1 < y2 <= SIDE
        people += len(boxes)
    assert people > 12


def test_labelled_pictures_have_the_layout_of_yolo(tmp_path: Path) -> None:
    sheet = write_pictures(tmp_path, 10, seed=1)
    assert "0: person" in sheet.read_text()
    assert (len(list((tmp_path / "images/train").iterdir())), 9) == (9, 9)
    assert len(list((tmp_path / "images/val").iterdir())) == 1
    for picture in (tmp_path / "images").rglob("*.jpg"):
        label = tmp_path / "labels" / picture.relative_to(tmp_path / "images").with_suffix(".txt")
        for line in label.read_text().splitlines():
            number, *shares = line.split()
            assert number == "0"
            assert all(0 <= float(share) <= 1 for share in shares)


def test_two_people_look_different() -> None:
    assert len({draw_look(Random(seed)) for seed in range(50)}) == 50
