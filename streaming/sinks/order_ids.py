"""Order ids that are used twice: the order that an id belongs to, and events of any other one.

An order is its id, the branch of its sale and its `created_at`, to the second. Of the messages that
create an order of one id the first one claims it, in Postgres and for all streams; they lie in one
topic partition, so every stream meets them in the same order, and one that replays finds the claim.
An event that creates another order fails a rule, and so does what its branch sends of it later: a
body with its `created_at`, a status change after it; and a body whose `created_at` is more than a
day away from that of the order. A return under the id of an order is another one, and so is an
update of a return that somebody pays for. docs/adr/0037
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from conf.contracts.order_event import RETURNED
from streaming.sinks.postgres import stage
from streaming.stream import Batch
from streaming.validation.batch import is_one_of
from streaming.validation.order_rules import ID_OF_OTHER_BRANCH, ID_USED_BEFORE

CREATING = ("order.created", RETURNED)
"""Types of the events that create an order, or a return."""

TOLERANCE = timedelta(days=1)
"""How far the `created_at` of a later body may be from that of its order."""

_KEYS = {
    **dict.fromkeys(("order_id", "branch_id"), "text"),
    **dict.fromkeys(("created_at", "event_time"), "timestamptz"),
    **dict.fromkeys(("creates", "is_return", "is_paid"), "boolean"),
    "row": "bigint",
}
_READ = ("order_id", "branch_id", "created_at", "event_time", "topic", "partition", "position")
_SOURCE_ORDER = [(name, "ascending") for name in ("order_id", "topic", "partition", "position")]

_CLAIM_SQL = """
    INSERT INTO order_ids
    SELECT order_id, branch_id, created_at, is_return FROM pg_temp.order_keys
    WHERE creates ON CONFLICT DO NOTHING"""

# LATERAL with LIMIT: one look into the index for each message, however the planner guesses.
_OTHER_SQL = """
    WITH other AS (
        SELECT k.*, CASE WHEN k.branch_id = i.branch_id THEN %s ELSE %s END AS rule,
            k.created_at - i.created_at BETWEEN '-1 second' AND '1 second' AS same_time
        FROM pg_temp.order_keys k CROSS JOIN LATERAL (
            SELECT * FROM order_ids i WHERE i.order_id = k.order_id LIMIT 1) i
        WHERE k.created_at IS NOT NULL AND (NOT k.creates OR %s) AND CASE
            WHEN k.creates THEN k.branch_id <> i.branch_id OR k.is_return <> i.is_return
                OR k.created_at - i.created_at NOT BETWEEN '-1 second' AND '1 second'
            ELSE k.is_paid AND i.is_return
                OR k.created_at - i.created_at NOT BETWEEN %s AND %s END
    ), noted AS (
        INSERT INTO order_id_reuses SELECT order_id, branch_id, created_at, rule FROM other
        WHERE creates AND NOT (same_time AND rule = %s) ON CONFLICT DO NOTHING
    )
    SELECT row, rule FROM other"""

_FOLLOWING_SQL = """
    SELECT k.row, min(r.rule) FROM pg_temp.order_keys k JOIN order_id_reuses r
        ON r.order_id = k.order_id AND r.branch_id = k.branch_id
    WHERE NOT k.creates AND CASE WHEN k.created_at IS NULL THEN r.created_at <= k.event_time
        ELSE k.created_at - r.created_at BETWEEN '-1 second' AND '1 second' END
    GROUP BY 1"""


def identified(batch: Batch) -> pa.Table:
    """The rows of a batch, validated also by the orders that their ids belong to.

    Streams that write the same rows with the same memory ask once. Claims are durable once any
    later commit is.
    """
    kept, rows = batch.memory.get("identified", (None, None))
    if kept is not batch.rows:
        with batch.db.transaction() as connection:
            connection.execute("SET LOCAL synchronous_commit = off")
            rows = identify(connection, batch.rows)
        batch.memory["identified"] = batch.rows, rows
    return rows


def identify(
    connection: psycopg.Connection[Any], rows: pa.Table, *, claim: bool = True
) -> pa.Table:
    """Add a rule to good rows whose id belongs to another order.

    Args:
        connection: in a transaction.
        rows: of `SILVER_SCHEMA`.
        claim: ids that are new; else their rows are good.
    """
    good = pc.equal(pc.list_value_length(rows["rules"]), 0)
    keys = rows.select(_READ).append_column("row", pa.array(range(rows.num_rows), pa.int64()))
    keys = keys.append_column("creates", is_one_of(rows["event_type"], CREATING))
    keys = keys.append_column("is_return", pc.equal(rows["event_type"], RETURNED))
    is_paid = pc.greater(pc.fill_null(rows["total_price"], Decimal(0)), Decimal(0))
    keys = keys.append_column("is_paid", is_paid)
    keys = keys.filter(good).sort_by(_SOURCE_ORDER)
    if not keys.num_rows:
        return rows
    stage(connection, "order_keys", _KEYS, keys)
    created, claimed = pc.sum(keys["creates"]).as_py(), 0
    if claim:
        claimed = connection.execute(_CLAIM_SQL).rowcount
    allowed = (-TOLERANCE, TOLERANCE)
    known = (ID_USED_BEFORE, ID_OF_OTHER_BRANCH, claimed < created, *allowed, ID_USED_BEFORE)
    refused = connection.execute(_OTHER_SQL, known).fetchall()
    refused += connection.execute(_FOLLOWING_SQL).fetchall()
    return _with_rules(rows, dict(refused))


def _with_rules(rows: pa.Table, refused: dict[int, str]) -> pa.Table:
    """The rows with one failed rule for each of these numbers of good rows."""
    if not refused:
        return rows
    rules = rows["rules"].to_pylist()
    for number, rule in refused.items():
        rules[number] = [rule]
    at = rows.schema.get_field_index("rules")
    return rows.set_column(at, "rules", pa.array(rules, rows.schema.field(at).type))
