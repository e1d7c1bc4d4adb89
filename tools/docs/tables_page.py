"""docs/TABLES.md: the tables of the lake and the relations of the serving database."""

from __future__ import annotations

from collections import Counter

from infra.postgres.migrate import MIGRATIONS
from streaming.lake.tables import TABLES
from tools.docs.markdown import code, render
from tools.docs.relations import read_relations

SEVERAL = 3
"""A column that so many tables define alike is described once."""


def tables_page() -> str:
    """The page without the notice that it is generated."""
    counts = Counter(column for table in TABLES for column in table.fields)
    return render(
        "TABLES",
        overview=[
            (f"[{t.name}](#{t.name.replace('.', '')})", t.grain, f"`{t.writer}`") for t in TABLES
        ],
        common=[column for column, tables in counts.items() if tables >= SEVERAL],
        tables=TABLES,
        relations=[
            (f"`{r.name}`", r.kind, r.grain, code(r.key)) for r in read_relations(MIGRATIONS)
        ],
    )
