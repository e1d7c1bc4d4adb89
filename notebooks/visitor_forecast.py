# %% [markdown]
# # Visitors of next week
#
# Each hour of the seven days to come, with the interval that should hold nine hours of ten. The
# model uses the hour of the day and the weekday, and nothing of holidays, weather or campaigns;
# [`queries/forecast.py`](../queries/forecast.py) describes it.

# %%
import pandas as pd

from queries.forecast import COVERAGE, TooLittleHistoryError, backtest, forecast
from queries.notebook import Lab, charts

lab = Lab()

# %% [markdown]
# ## What is known
#
# Hours in which the cameras saw too little are left out: who came then is unknown.

# %%
known = lab.sql("""
    SELECT branch_id, local_hour AS hour, visitors AS count
    FROM analyst.store_hourly
    WHERE visitors IS NOT NULL AND camera_coverage >= 0.9
    ORDER BY branch_id, local_hour
""")
known.groupby("branch_id")["hour"].agg(["min", "max", "count"])

# %% [markdown]
# ## How good was the forecast of last week?
#
# Made from the days before it alone, and compared with what then happened. A model whose error is
# not below that of the same hour one week before is of no use.

# %%
tested, expected, too_little = {}, {}, {}
for branch, rows in known.groupby("branch_id"):
    try:
        tested[branch] = backtest(rows)
        expected[branch] = forecast(rows, lab.open_hours_of_next_week(branch, rows["hour"].max()))
    except TooLittleHistoryError as reason:
        too_little[branch] = str(reason)
        print(f"{branch}: {reason}")
pd.DataFrame([{"branch": branch, **vars(found)} for branch, found in tested.items()])

# %% [markdown]
# ## Next week

# %%
places = charts(
    "Visitors of next week",
    expected,
    "hour, clock of the branch",
    "people who enter",
    f"The band should hold {COVERAGE:.0%} of the hours; the line is the mean.",
)
for branch, rows in expected.items():
    axes, colour = places[branch]
    axes.fill_between(rows["hour"], rows["low"], rows["high"], color=colour, alpha=0.25, lw=0)
    axes.plot(rows["hour"], rows["count"], ".-", color=colour)
    axes.set_ylim(bottom=0)
# %%
{
    "forecast": {branch: round(rows["count"].sum()) for branch, rows in expected.items()},
    "covered": {branch: round(found.covered, 2) for branch, found in tested.items()},
    "too_little": too_little,
}
