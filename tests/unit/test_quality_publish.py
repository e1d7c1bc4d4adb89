"""Write, audit, publish: rows are seen once, after they were validated."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import great_expectations.expectations as gxe
import pyarrow as pa
import pytest
from pyiceberg.table import Table as IcebergTable

from quality.engines import Engines
from quality.publish import BranchPublishError, audit, open_branch, publish
from quality.suite import RowSuite, expect
from streaming.lake.iceberg.commits import LakeTransaction
from tests.support.small_lake import ORDERS, empty_table

pytestmark = pytest.mark.requirement("Q1")

PRICES = RowSuite(
    "silver.orders",
    (
        expect(
            "total_positive",
            "A total is not positive.",
            gxe.ExpectColumnValuesToBeBetween,
            column="total",
            min_value=0,
            strict_min=True,
        ),
    ),
    sample=("order_id",),
)


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[IcebergTable]:
    """Two orders on main, and an open branch `backfill`."""
    with empty_table(tmp_path, "silver.orders", ORDERS) as table:
        table.append(rows("a", "b"))
        open_branch(table, "backfill")
        yield table


def rows(*order_ids: str, total: str = "1.00") -> pa.Table:
    return pa.Table.from_pylist(
        [{"order_id": i, "total": Decimal(total)} for i in order_ids], schema=ORDERS
    )


def on_main(table: IcebergTable) -> list[str]:
    return sorted(table.refresh().scan().to_arrow()["order_id"].to_pylist())


def head(table: IcebergTable, branch: str) -> int:
    return table.refresh().metadata.refs[branch].snapshot_id


def test_rows_of_a_branch_are_validated_before_anybody_sees_them(
    orders: IcebergTable, engines: Engines
) -> None:
    orders.append(rows("c"), branch="backfill")
    orders.append(rows("d", total="-1.00"), branch="backfill")
    _, (found,) = audit(orders, "backfill", [PRICES], engines)
    assert (found.state, found.rows, found.unexpected) == ("failed", 2, 1)
    assert found.samples == '[{"order_id": "d"}]'
    assert on_main(orders) == ["a", "b"]


def test_main_takes_over_a_branch_once(orders: IcebergTable) -> None:
    orders.append(rows("c"), branch="backfill")
    orders.append(rows("d"), branch="backfill")
    assert publish(orders, "backfill", head(orders, "backfill")) == 2
    assert on_main(orders) == ["a", "b", "c", "d"]
    assert set(orders.metadata.refs) == {"main"}
    with pytest.raises(BranchPublishError, match=r"silver\.orders has no branch backfill.*none"):
        publish(orders, "backfill", 1)


def test_what_streams_have_written_meanwhile_remains(orders: IcebergTable) -> None:
    orders.append(rows("c"), branch="backfill")
    orders.append(rows("live"))
    assert publish(orders, "backfill", head(orders, "backfill")) == 1
    assert on_main(orders) == ["a", "b", "c", "live"]
    assert set(orders.metadata.refs) == {"main"}


def test_a_branch_that_rewrites_rows_is_taken_over_also_where_main_has_got_others(
    orders: IcebergTable,
) -> None:
    orders.delete("order_id == 'a'", branch="backfill")
    orders.append(rows("a2"), branch="backfill")
    assert on_main(orders) == ["a", "b"]
    publish(orders, "backfill", head(orders, "backfill"))
    assert on_main(orders) == ["a2", "b"]

    open_branch(orders, "again")
    orders.delete("order_id == 'b'", branch="again")
    orders.append(rows("live"))
    publish(orders, "again", head(orders, "again"))
    assert on_main(orders) == ["a2", "live"]


def test_a_branch_is_published_also_when_a_stream_commits_at_that_very_moment(
    orders: IcebergTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders.delete("order_id == 'a'", branch="backfill")
    commit, left = LakeTransaction.commit_transaction, ["live"]

    def after_another(change: LakeTransaction) -> IcebergTable:
        if left:
            orders.catalog.load_table("silver.orders").append(rows(left.pop()))
        return commit(change)

    monkeypatch.setattr(LakeTransaction, "commit_transaction", after_another)
    orders.append(rows("earlier"))
    publish(orders, "backfill", head(orders, "backfill"))
    assert on_main(orders) == ["b", "earlier", "live"]


@pytest.mark.parametrize("when", ["before the first try", "before the retry of a conflict"])
def test_rows_that_came_to_a_branch_after_its_validation_are_not_published(
    orders: IcebergTable, engines: Engines, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    orders.append(rows("c"), branch="backfill")
    audited, _ = audit(orders, "backfill", [PRICES], engines)
    unseen, commit = [rows("d", total="-1.00")], LakeTransaction.commit_transaction

    def append() -> None:
        orders.catalog.load_table("silver.orders").append(unseen.pop(), branch="backfill")

    def after_another(change: LakeTransaction) -> IcebergTable:
        if unseen:
            append()
        return commit(change)

    if when == "before the first try":
        append()
    monkeypatch.setattr(LakeTransaction, "commit_transaction", after_another)
    with pytest.raises(BranchPublishError, match="after it was validated"):
        publish(orders, "backfill", audited)
    assert on_main(orders) == ["a", "b"]
    assert "backfill" in orders.metadata.refs


def test_a_branch_and_main_that_rewrite_the_same_rows_are_not_put_together(
    orders: IcebergTable,
) -> None:
    orders.delete("order_id == 'b'", branch="backfill")
    orders.delete("order_id == 'a'")
    with pytest.raises(BranchPublishError, match="begin a new branch"):
        publish(orders, "backfill", head(orders, "backfill"))
    assert on_main(orders) == ["b"]


def test_a_second_branch_of_that_name_is_refused(orders: IcebergTable) -> None:
    with pytest.raises(BranchPublishError, match="has a branch backfill already"):
        open_branch(orders, "backfill")
