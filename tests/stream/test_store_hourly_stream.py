"""store_hourly joins cameras and tills. One sequence of runs: a morning, a late order, a rerun."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

import pytest

from tests.stream.sandbox import Rows, Sandbox, later
from tests.support.builders import detection, detection_event, order_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("J1")]

TOGETHER = ("footfall", "real_time_metrics", "store_hourly")
TEN, ELEVEN = "2024-05-01T10:00:00Z", "2024-05-01T11:00:00Z"


def a_morning(sandbox: Sandbox) -> None:
    """B01 at 10: two visitors, one order. B02 at 10: nobody came. B01 at 11: the camera was off."""
    for index, x in enumerate((0.55, 0.60, 0.70, 0.75)):
        two = [
            detection(track_id=t, bbox=[x - 0.02, y - 0.2, x + 0.02, y])
            for t, y in (("anna", 0.5), ("ben", 0.8))
        ]
        sandbox.send_frame(
            detection_event(detections=two, frame_index=index, captured_at=later(TEN, index))
        )
    sandbox.send_frame(
        detection_event(branch_id="B02", camera_id="B02-entrance", detections=[], captured_at=TEN)
    )
    sandbox.send_order(
        order_event(order_id="O-1", created_at=TEN, event_time=TEN),
        order_event(order_id="O-2", created_at=ELEVEN, event_time=ELEVEN),
    )


def an_order_that_took_its_time(sandbox: Sandbox) -> None:
    """Made at 10:30, and sent after the first one of 11."""
    half_past = "2024-05-01T10:30:00Z"
    sandbox.send_order(order_event(order_id="O-3", created_at=half_past, event_time=half_past))


@dataclass
class Story:
    """store_hourly in the database and in the lake after each chapter."""

    served: dict[str, Rows] = field(default_factory=dict)
    lake: dict[str, Rows] = field(default_factory=dict)

    def remember(self, sandbox: Sandbox, chapter: str) -> None:
        self.served[chapter] = sandbox.query("SELECT * FROM store_hourly ORDER BY branch_id, hour")
        self.lake[chapter] = sorted(
            sandbox.lake("gold.store_hourly"), key=lambda r: (r["branch_id"], r["hour"])
        )


@pytest.fixture(scope="module")
def story(sandbox: Sandbox) -> Story:
    recorded = Story()
    minutes_suffice = sandbox.settings.streams.model_copy(update={"trusted_coverage": 0.0})
    sandbox.settings = sandbox.settings.model_copy(update={"streams": minutes_suffice})
    a_morning(sandbox)
    sandbox.run(
        *TOGETHER,
        steps=[
            lambda: recorded.remember(sandbox, "morning"),
            lambda: an_order_that_took_its_time(sandbox),
        ],
    )
    recorded.remember(sandbox, "late order")
    sandbox.run("store_hourly")
    recorded.remember(sandbox, "alone")
    sandbox.run(*TOGETHER)
    recorded.remember(sandbox, "together")
    return recorded


def test_conversion_is_orders_per_visitor_and_unknown_without_visitors(story: Story) -> None:
    rows = {(r["branch_id"], r["hour"].hour): r for r in story.served["morning"]}

    reported = {k: (r["visitors"], r["orders"], r["conversion_rate"]) for k, r in rows.items()}
    assert reported == {
        ("B01", 10): (2, 1, 0.5),
        ("B01", 11): (None, 1, None),
        ("B02", 10): (0, 0, None),
    }


def test_revenue_coverage_and_the_wall_clock_of_the_branch_stand_beside_it(story: Story) -> None:
    row = story.served["morning"][0]

    assert (row["revenue"], row["revenue_per_visitor"]) == (Decimal("2.50"), Decimal("1.25"))
    # One minute of an hour, of one of the branch's two cameras.
    assert row["camera_coverage"] == pytest.approx(1 / 120)
    assert row["local_hour"] == datetime(2024, 5, 1, 12)  # noqa: DTZ001 (a clock on a wall)


def test_a_late_order_corrects_its_hour_and_leaves_the_others_alone(story: Story) -> None:
    before, after = story.served["morning"], story.served["late order"]

    assert (after[0]["orders"], after[0]["conversion_rate"]) == (2, 1.0)
    assert after[0]["revenue"] == Decimal("5.00")
    assert after[1:] == before[1:]


@pytest.mark.parametrize("chapter", ["morning", "late order"])
def test_the_lake_has_the_same_hours_as_the_database(story: Story, chapter: str) -> None:
    lake = story.lake[chapter]

    assert lake
    assert lake == [{name: row[name] for name in lake[0]} for row in story.served[chapter]]


@pytest.mark.parametrize("chapter", ["alone", "together"])
def test_computing_again_changes_nothing(story: Story, chapter: str) -> None:
    assert story.served[chapter] == story.served["late order"]
    assert story.lake[chapter] == story.lake["late order"]
