"""docs/QUERIES.md: how to ask the lake, the views, and the questions with their SQL."""

from __future__ import annotations

from cli.grid import grid
from conf.settings import CONF_DIR
from conf.stores import load_stores
from queries.ask import questions
from streaming.lake.views import NAMESPACE, views

HEAD = """\
# Queries

```sh
storelake sql "SELECT branch_id, count(*) FROM analyst.orders GROUP BY branch_id"
storelake sql --engine spark --format csv --file query.sql > answer.csv
echo "SELECT * FROM gold.store_hourly LIMIT 5" | storelake sql --format json -
storelake ask                                     # the questions below
storelake ask conversion_by_hour --engine trino
storelake ask conversion_by_hour --engine spark --show    # its SQL, for that engine
```

Tables are called the same on every engine: `silver.orders`, or `storelake.silver.orders` with the
name of the catalog. A query only reads. An error is one sentence, and exit code 1.

| engine | is | good for |
|---|---|---|
| `duckdb` (the default) | inside the command | answers in a second, without a server |
| `spark` | a session of the command, some seconds to start | what is larger than the memory |
| `trino` | a server: `storelake up --trino`, or profile `full` | many readers, JDBC on port 18090 |

Trino needs Java 24 or newer, of its own if need be (`STORELAKE_TRINO__JAVA_HOME`). It may only
read.

## As it was

A table at a snapshot, at a tag or branch, or at an instant, in the same words on every engine:

```sql
SELECT count(*) FROM silver.orders FOR VERSION AS OF 4135427812370461250;
SELECT count(*) FROM silver.orders FOR VERSION AS OF 'validated';
SELECT count(*) FROM silver.orders FOR TIMESTAMP AS OF TIMESTAMP '2024-05-01 10:00:00 UTC';
```

Which snapshots there are: `SELECT * FROM silver.orders.snapshots` in Spark, `SELECT * FROM
silver."orders$snapshots"` in Trino. Old ones expire; what a tag is on does not.

## Views

In the namespace `{namespace}`: each shows its table at the tag `validated`, where [nothing
critical has failed](QUALITY.md); rows that a restatement took back are left out. A column
`.._local` is the clock on the wall of the branch, as a timestamp without a time zone. Every engine,
and every client of Spark or Trino, sees them
([ADR 0019](adr/0019-views-lie-in-the-catalog-in-two-dialects.md)).

"""
QUESTIONS = """
## Questions

One text each, in Trino's SQL; `storelake ask` says it in that of the engine. They read what was
validated, but for late data and dead letters, which lie in quarantine.
"""


def queries_page() -> str:
    """The page."""
    stores = load_stores(CONF_DIR / "stores" / "demo.toml")
    rows = [(f"`{view.full_name}`", view.grain) for view in views(stores)]
    found = questions().values()
    lines = [
        HEAD.format(namespace=NAMESPACE) + "\n".join(grid(("view", "one row is"), rows)),
        QUESTIONS,
        *grid(
            ("question", "asks"),
            [(f"[{q.name}](#{q.title.lower().replace(' ', '-')})", q.question) for q in found],
        ),
    ]
    for question in found:
        lines += [
            "",
            f"### {question.title}",
            "",
            f"*{question.question}* {question.reading}",
            "",
            "```sql",
            question.sql,
            "```",
        ]
    return "\n".join(lines) + "\n"
