# %% [markdown]
# # Inside the lake
#
# Snapshots, files, time travel and what maintenance is for, on one table.

# %%
from queries.notebook import Lab, chart

NAME = "silver.orders"
lab = Lab()

# %% [markdown]
# ## Every commit is a snapshot

# %%
with lab.table(NAME) as table:
    snapshots = table.inspect.snapshots().to_pandas().tail(100)
    files = table.inspect.files().to_pandas()
    manifests = table.inspect.manifests().num_rows
    tags = {name: ref.snapshot_id for name, ref in table.metadata.refs.items()}
snapshots[["committed_at", "snapshot_id", "operation"]]

# %% [markdown]
# ## The table as it was after each of them
#
# `lab.sql(query, at="yesterday")` and `lab.ask(question, at="2024-05-01")` read all tables and views
# of a query as of one moment: a day, a tag of an hour, or an instant.

# %%
rows = [
    int(lab.sql(f"SELECT count(*) AS n FROM {NAME} FOR VERSION AS OF {snapshot}")["n"][0])
    for snapshot in snapshots["snapshot_id"]
]
axes = chart(
    f"Rows of {NAME} after each commit",
    "commit",
    "rows",
    "Each point is the whole table at that snapshot, read now; old ones go when they expire.",
)
axes.step(range(1, len(rows) + 1), rows, where="post", marker="o")
axes.set_ylim(bottom=0)
axes.xaxis.get_major_locator().set_params(integer=True)
# %% [markdown]
# ## What validation has let through

# %%
validated = int(lab.sql(f"SELECT count(*) AS n FROM {NAME} FOR VERSION AS OF 'validated'")["n"][0])
tags, validated

# %% [markdown]
# ## Small commits make small files
#
# A query opens each file, and planning reads each manifest. Maintenance rewrites quiet partitions
# into few large files; until then this grows with every commit.

# %%
axes = chart(
    f"Size of the files of {NAME}",
    "file, the largest first",
    "KiB",
    f"{len(files)} files in {manifests} manifests for {rows[-1] if rows else 0} rows: many small ones are slow to plan.",
)
sizes = sorted(files["file_size_in_bytes"] / 1024, reverse=True)
axes.xaxis.get_major_locator().set_params(integer=True)
_ = axes.bar(range(1, len(sizes) + 1), sizes)
# %%
{
    "snapshots": len(snapshots),
    "rows": rows,
    "validated": validated,
    "records_in_files": int(files["record_count"].sum()),
}
