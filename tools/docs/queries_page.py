"""docs/QUERIES.md: how to query the lake, its views, and the prepared questions with their SQL."""

from __future__ import annotations

from conf.settings import CONF_DIR
from conf.stores import load_stores
from queries.ask import questions
from streaming.lake.views import NAMESPACE, views
from tools.docs.markdown import table_lines

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

A table has the same name on every engine: `silver.orders`, or `storelake.silver.orders` with the
name of the catalog. Queries are read-only. An error is one sentence, with exit code 1.

| engine | runs | use |
|---|---|---|
| `duckdb` (the default) | in the process of the command | results within a second |
| `spark` | in the command, with some seconds to start | data larger than memory |
| `trino` | server: `storelake up --trino`, profile `full` | many readers, JDBC on port 18090 |

Trino needs Java 24 or newer; `STORELAKE_TRINO__JAVA_HOME` names one for Trino alone. It has
read-only access.

## Time travel

A table at a snapshot, at a tag or branch, or at a time, with the same SQL on every engine:

```sql
SELECT count(*) FROM silver.orders FOR VERSION AS OF 4135427812370461250;
SELECT count(*) FROM silver.orders FOR VERSION AS OF 'validated';
SELECT count(*) FROM silver.orders FOR TIMESTAMP AS OF TIMESTAMP '2024-05-01 10:00:00 UTC';
```

To list snapshots: `SELECT * FROM silver.orders.snapshots` in Spark, `SELECT * FROM
silver."orders$snapshots"` in Trino. Old snapshots expire; a tagged snapshot does not.

## Views

Views are in the namespace `{namespace}`. Each shows its table at the tag `validated`, at which [no
critical expectation failed](QUALITY.md), without the rows that a recomputation retracted. A column
`.._local` is the local time of the branch, as a timestamp without a time zone. Every engine, and
every client of Spark or Trino, can query the views
([ADR 0019](adr/0019-views-lie-in-the-catalog-in-two-dialects.md)).

"""
QUESTIONS = """
## Questions

Each is one query in Trino's SQL; `storelake ask` translates it for the engine. They read validated
tables, except those on late data and dead letters, which read `quarantine`.
"""


def queries_page() -> str:
    """The page without the notice that it is generated."""
    stores = load_stores(CONF_DIR / "stores" / "demo.toml")
    rows = [(f"`{view.full_name}`", view.grain) for view in views(stores)]
    found = questions().values()
    lines = [
        HEAD.format(namespace=NAMESPACE) + "\n".join(table_lines(("view", "one row is"), rows)),
        QUESTIONS,
        *table_lines(
            ("name", "question"),
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
