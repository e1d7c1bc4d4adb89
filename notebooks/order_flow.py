# %% [markdown]
# # Order flow and status times
#
# From pending to completed, how long each step takes, and which orders never get there.

# %%
from queries.notebook import Lab, chart, charts

lab = Lab()

# %% [markdown]
# ## How long does an order stay in each status?

# %%
times = lab.ask("lead_times")
times

# %%
axes = chart(
    "Time from one status to the next",
    "",
    "minutes",
    "Half of the changes took at most the dark bar; 95 of 100 at most the light one.",
)
steps = [f"{a} to {b}" for a, b in zip(times["previous_status"], times["new_status"], strict=True)]
axes.bar(steps, times["p95_seconds"] / 60, color="#b8cfe5", label="95 of 100")
axes.bar(steps, times["p50_seconds"] / 60, color="#2f6690", label="half")
_ = axes.legend(frameon=False)
# %% [markdown]
# ## Which orders has nobody touched for a day?

# %%
stuck = lab.ask("stuck_orders")
stuck

# %% [markdown]
# ## What is cancelled?

# %%
cancelled = lab.ask("cancellations")
places = charts(
    "Cancelled orders",
    cancelled["branch_id"],
    "way of paying, currency",
    "share of orders, %",
    "Each order once, in its newest version; above each bar what the cancelled ones were worth.",
)
for branch, rows in cancelled.groupby("branch_id"):
    axes, colour = places[branch]
    names = rows["payment_method"].fillna("unknown") + ", " + rows["currency"]
    bars = axes.bar(names, 100 * rows["cancelled_share"], color=colour)
    axes.bar_label(bars, [f"{worth:.2f}" for worth in rows["cancelled_revenue"]], fontsize=8)
# %%
{
    "orders": int(cancelled["orders"].sum()),
    "cancelled": int(cancelled["cancelled"].sum()),
    "stuck": sorted(stuck["order_id"]),
}
