# %% [markdown]
# # Footfall and conversion
#
# Who came, who bought, and how far the cameras can be trusted with it. The figures are those of
# [the questions](../docs/QUERIES.md): validated data, on the clock of each branch.

# %%
from queries.notebook import Lab, charts

lab = Lab()

# %% [markdown]
# ## When do visitors buy?

# %%
hours = lab.ask("conversion_by_hour")
hours

# %%
places = charts(
    "Conversion by hour",
    hours["branch_id"],
    "hour of the day in the branch",
    "orders per 100 visitors",
    "An hour stands high where few people leave without buying; it has no bar where the rate is withheld.",
)
for branch, rows in hours.groupby("branch_id"):
    axes, colour = places[branch]
    axes.bar(rows["hour_of_day"], 100 * rows["conversion_rate"], width=0.8, color=colour)
    axes.set_xticks(range(0, 24, 2))
    axes.set_xlim(-0.5, 23.5)
# %% [markdown]
# ## How do they come?

# %%
minutes = lab.sql("""
    SELECT branch_id, date_trunc('hour', minute_local) AS hour, sum(entries) AS entries
    FROM analyst.footfall_minute GROUP BY ALL ORDER BY ALL
""")
places = charts(
    "Visitors by hour",
    minutes["branch_id"],
    "hour, clock of the branch",
    "people who entered",
    "Entries over the entrance lines; a branch without an entrance line has none.",
)
for branch, rows in minutes.groupby("branch_id"):
    axes, colour = places[branch]
    axes.plot(rows["hour"], rows["entries"].astype(float), marker=".", color=colour)
    axes.set_ylim(bottom=0)
# %% [markdown]
# ## Where is the count blind?

# %%
lab.ask("coverage_holes")

# %% [markdown]
# ## What does the queue cost?
#
# An upper bound: orders that the visitors would have made at the best rate of their branch.

# %%
lab.ask("queue_and_lost_sales")

# %%
{
    "visitors": int(hours["visitors"].sum()),
    "orders": int(hours["orders"].sum()),
    "entries": int(minutes["entries"].sum()),
}
