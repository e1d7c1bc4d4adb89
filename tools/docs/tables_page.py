"""docs/TABLES.md: the tables of the lake and the relations of the serving database."""

from __future__ import annotations

from infra.postgres.migrate import MIGRATIONS
from streaming.lake.tables import TABLES
from tools.docs.markdown import code, render
from tools.docs.relations import read_relations


def tables_page() -> str:
    """The page without the notice that it is generated."""
    return render(
        "TABLES",
        overview=[
            (f"[{t.name}](#{t.name.replace('.', '')})", t.grain, f"`{t.writer}`") for t in TABLES
        ],
        tables=TABLES,
        relations=[
            (f"`{r.name}`", r.kind, r.grain, code(r.key)) for r in read_relations(MIGRATIONS)
        ],
    )
