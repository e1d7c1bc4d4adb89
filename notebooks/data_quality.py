# %% [markdown]
# # Data quality
#
# What was refused and why, what came too late, and how far each table has been validated.

# %%
from queries.notebook import Lab, chart

lab = Lab()

# %% [markdown]
# ## Why are messages refused?

# %%
dead_letters = lab.ask("dead_letters")
axes = chart(
    "Dead letters by the rule that they failed",
    "messages",
    "",
    "A message that fails several rules counts for each; `storelake dlq` mends and sends them again.",
)
axes.barh(
    dead_letters["topic"] + ": " + dead_letters["rule"], dead_letters["messages"], color="#c0504d"
)
axes.invert_yaxis()
axes.grid(axis="x", color="0.9")
# %% [markdown]
# ## Nothing is lost: what came in is good, refused or late

# %%
account = lab.sql("""
    SELECT
        (SELECT count(*) FROM bronze.order_events) AS received,
        (SELECT count(*) FROM silver.orders) AS good,
        (SELECT count(*) FROM quarantine.order_events) AS refused,
        (SELECT count(*) FROM quarantine.late_events) AS of_the_good_too_late
""")
account

# %% [markdown]
# ## Which hours still lack what came too late?

# %%
late = lab.ask("late_data")
late

# %% [markdown]
# ## How far has each table been validated?

# %%
lab.sql("""
    SELECT table_name, passed_snapshot_id = snapshot_id AS up_to_date, validated_at
    FROM quality.validated_snapshots ORDER BY table_name
""")

# %%
{
    "received": int(account["received"][0]),
    "good_and_refused": int(account["good"][0] + account["refused"][0]),
    "late": int(late["events"].sum()),
    "failures": int(dead_letters["messages"].sum()),
}
