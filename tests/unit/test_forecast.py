"""Forecasts of hourly counts, and the tills that they need."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from queries.forecast import COVERAGE, WEEK, TooLittleHistoryError, backtest, forecast
from queries.staffing import share_in_time, tills_needed

pytestmark = pytest.mark.requirement("L2")

OPENS, CLOSES, SUNDAY = 9, 20, 6


def usual(hour: pd.Timestamp) -> float:
    """Mean number of visitors: most at five, more on Saturdays, none outside opening hours."""
    if not OPENS <= hour.hour < CLOSES or hour.weekday() == SUNDAY:
        return 0.0
    return float(20 + 30 * np.exp(-(((hour.hour - 17) / 3) ** 2))) * (
        1.6 if hour.weekday() == 5 else 1
    )


def weeks(number: float, *, spread: float = 2.0, seed: int = 1) -> pd.DataFrame:
    """A history whose variance is `spread` times its mean, from a Monday on."""
    hours = pd.date_range("2024-05-06", periods=int(24 * 7 * number), freq="h")
    means = np.array([usual(hour) for hour in hours])
    rates = np.random.default_rng(seed).gamma(means / (spread - 1) + 1e-12, spread - 1)
    return pd.DataFrame({"hour": hours, "count": np.random.default_rng(seed).poisson(rates)})


def the_week_after(history: pd.DataFrame) -> pd.DatetimeIndex:
    return pd.date_range(history["hour"].max() + pd.Timedelta(hours=1), periods=7 * 24, freq="h")


def test_a_forecast_uses_hour_and_weekday_and_that_closed_hours_have_nobody() -> None:
    history = weeks(4)
    expected = forecast(history, the_week_after(history)).set_index("hour")
    means = pd.Series({hour: usual(hour) for hour in expected.index})
    assert (expected["count"][means == 0] == 0).all()
    assert expected["count"][means > 0].to_numpy() == pytest.approx(means[means > 0], rel=0.25)


def test_the_interval_holds_the_share_of_hours_that_it_promises() -> None:
    covered = [backtest(weeks(4, seed=seed)).covered for seed in range(8)]
    assert np.mean(covered) == pytest.approx(COVERAGE, abs=0.05)


def test_a_forecast_is_better_than_the_same_hour_of_the_week_before() -> None:
    for number in (2, 4):
        tested = backtest(weeks(number))
        assert tested.error < tested.error_of_last_week


def test_a_backtest_sees_nothing_of_the_week_that_it_forecasts() -> None:
    history = weeks(3)
    changed = history.copy()
    last = changed["hour"] > changed["hour"].max() - WEEK
    changed.loc[last, "count"] = changed.loc[last, "count"] * 100
    # What was forecast is the same, so the error grows by what was added.
    added = (changed["count"] - history["count"])[last & (history["count"] > 0)].mean()
    assert backtest(changed).error == pytest.approx(added, abs=2 * backtest(history).error)


def test_hours_without_a_camera_are_unknown_not_empty() -> None:
    history = weeks(4)
    blind = history[(history["hour"].dt.day % 5 != 0)]
    whole, holes = (forecast(h, the_week_after(history))["count"].sum() for h in (history, blind))
    assert holes == pytest.approx(whole, rel=0.1)


def test_less_than_two_weeks_are_too_little() -> None:
    history = weeks(13 / 7)
    with pytest.raises(TooLittleHistoryError, match=r"needs 14 days.*there are 13"):
        forecast(history, the_week_after(history))
    with pytest.raises(TooLittleHistoryError):
        backtest(history)


def test_counts_that_are_all_the_same_are_their_own_forecast() -> None:
    history = weeks(2).assign(count=5)
    expected = forecast(history, the_week_after(history))
    assert (expected["count"] == 5).all()
    assert (expected["low"].unique(), expected["high"].unique()) == ([2], [9]), "Poisson"
    assert (backtest(history).error, backtest(history).covered) == (0, 1)


def test_a_last_week_without_an_open_hour_cannot_be_compared() -> None:
    with pytest.raises(TooLittleHistoryError, match="none was open"):
        backtest(weeks(2).assign(count=0))


def test_tills_follow_erlang() -> None:
    # Ten erlangs on fourteen tills: 17.4 of 100 wait, as in published tables of Erlang C.
    assert share_in_time(14, 200, 180, 0) == pytest.approx(1 - 0.174, abs=0.001)
    assert share_in_time(2, 100, 90, 60) == 0, "the queue only grows"
    assert tills_needed(0, 90, 60) == 1
    for arrivals in (10, 60, 200):
        tills = tills_needed(arrivals, 90, 60)
        assert share_in_time(tills, arrivals, 90, 60) >= 0.8
        assert tills == 1 or share_in_time(tills - 1, arrivals, 90, 60) < 0.8
