"""Forecast of an hourly count of one branch, such as visitors, for the hours to come.

A quasi-Poisson regression on hour of the day and weekday: the logarithm of the mean is their sum,
and the variance is the mean times a dispersion that the residuals give (McCullagh and Nelder,
Generalized Linear Models, 2nd ed. 1989, sections 6.2 and 9.2). The interval is that of a negative
binomial distribution with this variance and that of the estimated mean added.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

LEAST_DAYS = 14
"""Days of history that a forecast needs: each weekday twice."""
WEEK = pd.Timedelta(days=7)
COVERAGE = 0.9
"""Share of hours that the interval should hold."""
FIGURES = ["count", "low", "high"]
FORMULA = "count ~ C(hour_of_day) + C(weekday)"


class TooLittleHistoryError(ValueError):
    """A forecast needs more days or hours; the message names which."""


@dataclass(frozen=True)
class Backtest:
    """The last week of a history, forecast from the days before it alone.

    Attributes:
        hours: that were compared, closed ones left out.
        error: mean absolute error, in counts.
        error_of_last_week: the same of the count of one week before, where it is known.
        covered: share of the hours inside the interval; `COVERAGE` is expected.
    """

    hours: int
    error: float
    error_of_last_week: float
    covered: float


def forecast(history: pd.DataFrame, hours: pd.DatetimeIndex) -> pd.DataFrame:
    """Mean and interval of the count at some hours after a history.

    Args:
        history: columns `hour`, on the clock of the branch, and `count`; hours that are unknown,
            because a camera was blind, have no row.
        hours: to forecast, on the same clock. One whose hour of the day or weekday never had a
            count is taken as closed.

    Returns:
        Columns `hour`, `count` (the mean), `low` and `high` (see `COVERAGE`).

    Raises:
        TooLittleHistoryError: fewer than `LEAST_DAYS` days.
    """
    _require_days(history)
    return _predict(history, hours)


def backtest(history: pd.DataFrame) -> Backtest:
    """How well the last seven days would have been forecast.

    Args:
        history: as of `forecast`.

    Raises:
        TooLittleHistoryError: fewer than `LEAST_DAYS` days, or no hour of the last seven was open.
    """
    _require_days(history)
    start = history["hour"].max() - WEEK
    known, last = history[history["hour"] <= start], history[history["hour"] > start]
    before = known.groupby(known["hour"] + WEEK)["count"].mean()
    found = _predict(known, last["hour"]).assign(
        true=last["count"].to_numpy(float), before=last["hour"].map(before).to_numpy()
    )
    found = found[(found["true"] > 0) | (found["count"] > 0)]
    if found.empty:
        raise TooLittleHistoryError(
            "A forecast is compared with the open hours of the last seven days, and none was open."
        )
    return Backtest(
        hours=len(found),
        error=float((found["true"] - found["count"]).abs().mean()),
        error_of_last_week=float((found["true"] - found["before"]).abs().mean()),
        covered=float(found["true"].between(found["low"], found["high"]).mean()),
    )


def _require_days(history: pd.DataFrame) -> None:
    days = history["hour"].dt.normalize().nunique()
    if days < LEAST_DAYS:
        raise TooLittleHistoryError(
            f"A forecast needs {LEAST_DAYS} days, each weekday twice, and there are {days}."
        )


def _predict(history: pd.DataFrame, hours: Iterable[pd.Timestamp]) -> pd.DataFrame:
    rows = _with_calendar(history.astype({"count": float}))
    wanted = _with_calendar(pd.DataFrame({"hour": list(hours)}))
    known, open_then = _is_open(rows, rows), _is_open(rows, wanted)
    wanted[FIGURES] = 0.0
    if open_then.any():
        wanted.loc[open_then, FIGURES] = _estimate(rows[known], wanted[open_then])
    return wanted[["hour", *FIGURES]]


def _with_calendar(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(hour_of_day=rows["hour"].dt.hour, weekday=rows["hour"].dt.weekday)


def _is_open(history: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """Whether both the weekday and the hour of the day of a row ever had a count."""
    seen = history[history["count"] > 0]
    return rows["weekday"].isin(seen["weekday"]) & rows["hour_of_day"].isin(seen["hour_of_day"])


def _estimate(history: pd.DataFrame, wanted: pd.DataFrame) -> np.ndarray:
    """Mean, low and high of each row."""
    import statsmodels.api as sm  # noqa: PLC0415 - slow
    import statsmodels.formula.api as smf  # noqa: PLC0415
    from scipy.stats import nbinom  # noqa: PLC0415

    if history["count"].nunique() == 1:  # then statsmodels refuses to fit
        mean, dispersion = np.full(len(wanted), history["count"].max()), 1.0
    else:
        model = smf.glm(FORMULA, history, family=sm.families.Poisson()).fit(scale="X2")
        predicted = model.get_prediction(wanted)
        mean = predicted.predicted_mean
        dispersion = model.scale + predicted.se_mean**2 / mean
    # A negative binomial distribution has more variance than its mean.
    ratio = np.maximum(dispersion, 1 + 1e-6)
    tail = (1 - COVERAGE) / 2
    low, high = (nbinom.ppf(q, mean / (ratio - 1), 1 / ratio) for q in (tail, 1 - tail))
    return np.column_stack([mean, low, high])
