# %% [markdown]
# # Staffing
#
# How many tills next week needs so that queues are short, and how many visitors that is for each
# hour of work. The customers at the tills are forecast from the orders made in the shop; the number
# of tills follows from Erlang C ([`queries/staffing.py`](../queries/staffing.py)).

# %%
import pandas as pd

from queries.forecast import TooLittleHistoryError, forecast
from queries.notebook import Lab, charts
from queries.staffing import tills_needed

lab = Lab()
SERVICE_SECONDS = 90  # of one customer at the till, on average: measure it in your shop
TARGET_SECONDS = 60  # so long, at most, do eight of ten customers wait
IN_TIME = 0.8

# %% [markdown]
# ## How long do people wait today?
#
# Share of the hours with a queue whose slowest twentieth waited longer than the target.

# %%
waits = lab.sql(f"""
    SELECT branch_id, extract(hour FROM local_hour) AS hour_of_day,
        count(*) AS hours, sum(queue_waits) AS people,
        avg(CASE WHEN queue_wait_p95 > {TARGET_SECONDS} THEN 1.0 ELSE 0.0 END) AS share_too_slow,
        max(queue_wait_p95) AS worst_p95_seconds
    FROM analyst.store_hourly WHERE queue_waits > 0
    GROUP BY branch_id, extract(hour FROM local_hour) ORDER BY branch_id, hour_of_day
""")
waits

# %% [markdown]
# ## Customers of next week, and the tills for them

# %%
known = lab.sql("""
    SELECT branch_id, local_hour AS hour, orders_in_store, visitors
    FROM analyst.store_hourly ORDER BY branch_id, local_hour
""")
plans, too_little = [], {}
for branch, rows in known.groupby("branch_id"):
    hours = lab.open_hours_of_next_week(branch, rows["hour"].max())
    plan = pd.DataFrame({"branch_id": branch, "hour": hours})
    try:
        for name in ("orders_in_store", "visitors"):
            history = rows[["hour", name]].rename(columns={name: "count"}).dropna()
            plan[name] = forecast(history, hours)["count"]
    except TooLittleHistoryError as reason:
        too_little[branch] = str(reason)
        print(f"{branch}: {reason}")
        continue
    plan = plan[(plan["orders_in_store"] > 0) | (plan["visitors"] > 0)]
    tills = [
        tills_needed(customers, SERVICE_SECONDS, TARGET_SECONDS, IN_TIME)
        for customers in plan["orders_in_store"]
    ]
    plans.append(plan.assign(tills=tills))
empty = {"branch_id": [], "hour": pd.DatetimeIndex([]), "tills": [], "visitors": []}
roster = pd.concat(plans) if plans else pd.DataFrame(empty)

# %%
places = charts(
    "Tills that next week needs",
    roster["branch_id"],
    "hour, clock of the branch",
    "open tills",
    f"So that {IN_TIME:.0%} of the customers wait at most {TARGET_SECONDS} s; each takes {SERVICE_SECONDS} s.",
)
for branch, rows in roster.groupby("branch_id"):
    axes, colour = places[branch]
    axes.step(rows["hour"], rows["tills"], where="post", color=colour)
    axes.set_ylim(bottom=0)
    axes.yaxis.get_major_locator().set_params(integer=True)
# %%
days = roster["hour"].dt.day_name().str[:3]
roster.pivot_table("tills", ["branch_id", roster["hour"].dt.hour], days, sort=False).sort_index()

# %% [markdown]
# ## Visitors for each hour of work
#
# One till must be open however few come: a branch far below the others is staffed for its opening
# hours, not for its visitors.

# %%
totals = roster.groupby("branch_id")[["tills", "visitors"]].sum()
totals["visitors_per_staff_hour"] = totals["visitors"] / totals["tills"]
totals

# %%
{
    "staff_hours": {branch: int(hours) for branch, hours in totals["tills"].items()},
    "visitors_per_staff_hour": {
        branch: round(rate, 1) for branch, rate in totals["visitors_per_staff_hour"].items()
    },
    "too_little": too_little,
}
