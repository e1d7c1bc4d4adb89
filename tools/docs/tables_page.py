"""docs/TABLES.md: the tables of the lake and the relations of the serving database."""

from __future__ import annotations

from infra.postgres.migrate import MIGRATIONS
from streaming.lake.tables import TABLES, Table
from tools.docs.markdown import table_lines
from tools.docs.relations import read_relations

LAKE_HEAD = """\
# Tables

The tables of the lake, as `streaming/lake/tables.py` defines them, then [those of
Postgres](#postgres).

- **append**: rows are added. The snapshot records the source positions of its rows, so a batch that
  Spark repeats adds nothing ([ADR 0002](adr/0002-sinks-remember-source-positions.md)).
- **upsert**: a row replaces the row with the same key.
"""
POSTGRES_HEAD = """
## Postgres

The serving database, as `infra/postgres/migrations` defines it.
"""


def tables_page() -> str:
    """The page without the notice that it is generated."""
    overview = [(f"[{t.name}](#{_anchor(t)})", t.grain, f"`{t.writer}`") for t in TABLES]
    relations = [
        (f"`{r.name}`", r.kind, r.grain, ", ".join(f"`{k}`" for k in r.key))
        for r in read_relations(MIGRATIONS)
    ]
    lines = [
        LAKE_HEAD,
        *table_lines(("table", "one row is", "writer"), overview),
        *(line for table in TABLES for line in _section(table)),
        POSTGRES_HEAD,
        *table_lines(("name", "kind", "one row is", "key"), relations),
    ]
    return "\n".join(lines) + "\n"


def _anchor(table: Table) -> str:
    return table.name.replace(".", "")


def _section(table: Table) -> list[str]:
    partition = ", ".join(f"`{p}`" for p in table.partition) or "none"
    return [
        "",
        f"## {table.name}",
        "",
        f"- Key: {', '.join(f'`{k}`' for k in table.key)}",
        f"- Writer: `{table.writer}`, by {table.strategy}",
        f"- Partition: {partition}; maintenance sorts by {', '.join(f'`{c}`' for c in table.sort)}",
        "",
        *table_lines(
            ("column", "type", "meaning"),
            [(f"`{c.name}`", f"`{c.type}`", c.comment) for c in table.fields],
        ),
    ]
