"""What a soak calls flat, and what its page shows."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from verification.soak.flat import Trend, sentence, trends
from verification.soak.report import write_page
from verification.soak.samples import MEMORY, STORED, Sample

BEGUN = datetime(2026, 11, 1, 8, tzinfo=timezone.utc)


def hour_of(memory: list[float]) -> list[tuple[datetime, Sample]]:
    """An hour of samples of the streams' memory, in MB, at even pauses."""
    pause = timedelta(hours=1) / len(memory)
    return [
        (BEGUN + n * pause, {**EMPTY, MEMORY: {"streams": mb}, STORED: {"lake": 10.0 * n}})
        for n, mb in enumerate(memory)
    ]


EMPTY: Sample = {
    name: {}
    for name in (
        *("open_files", "threads", "postgres_connections"),
        *("state_mb", "checkpoint_files"),
    )
}


def test_a_restart_now_and_then_is_flat() -> None:
    (found,) = trends(hour_of([1000.0, 1000, 300, 1000, 1020, 990] * 20))

    assert found.flat
    assert (found.early, found.late) == pytest.approx((1000, 1000), rel=0.01)


def test_a_leak_is_not_flat_and_is_named() -> None:
    (found,) = trends(hour_of([1000.0 + 5 * n for n in range(120)]))

    assert not found.flat
    assert sentence(found) == "memory mb of streams grew from 1,198 to 1,518"


def test_growth_while_caches_fill_is_not_compared() -> None:
    (found,) = trends(hour_of([40.0 * min(n, 24) for n in range(120)]))

    assert found.flat


def test_what_ran_only_at_the_end_is_not_compared() -> None:
    samples = hour_of([1000.0] * 120)
    late = [(at, {**sample, MEMORY: {"console": 100.0}}) for at, sample in samples[-30:]]

    assert [one.name for one in trends([*samples[:-30], *late])] == []
    assert list(trends([])) == []


def test_a_small_value_may_double() -> None:
    assert Trend(MEMORY, "supervisor", 30, 60).flat


def test_the_page_shows_every_measure_and_what_grows(tmp_path: Path) -> None:
    samples = hour_of([1000.0 + 5 * n for n in range(120)])
    page = tmp_path / "soak.html"

    write_page(
        {
            "ok": False,
            "seed": 1,
            "faults": ["memory mb of streams grew from 1,198 to 1,518"],
            "injected": [
                {
                    "at": BEGUN.isoformat(),
                    "title": "SIGKILL of <Kafka>",
                    "observed": "pid 1 is gone",
                    "broken": [],
                    "recovery_seconds": 7.5,
                }
            ],
            "ids": {"sent": 36000, "frames": 18000},
            "trends": [{**vars(one), "flat": one.flat} for one in trends(samples)],
            "machine": {"cores": 2},
        },
        samples,
        [(BEGUN + timedelta(minutes=5), "kill-kafka")],
        page,
    )

    html = page.read_text()
    assert html.count("<svg") == len(samples[0][1])
    assert "memory mb of streams grew from 1,198 to 1,518" in html
    assert "SIGKILL of &lt;Kafka&gt;" in html
    assert "36,000 order events" in html
    assert "grows" in html
