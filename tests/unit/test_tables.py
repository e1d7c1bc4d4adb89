"""The tables of the lake as data: what each must declare."""

from __future__ import annotations

from collections import Counter

import pytest

from streaming.lake.tables import TABLES, Table
from streaming.registry import NAMES

every_table = pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)


def names(table: Table) -> list[str]:
    return [column.name for column in table.fields]


@every_table
def test_the_key_is_made_of_its_own_columns(table: Table) -> None:
    assert table.key
    assert set(table.key) <= set(names(table))


@every_table
def test_no_column_is_named_twice(table: Table) -> None:
    assert [n for n, count in Counter(names(table)).items() if count > 1] == []


@every_table
def test_the_writer_is_a_stream_or_a_maintenance_command(table: Table) -> None:
    ours = ("quality", "maintenance")
    assert table.writer in (*NAMES, *ours)
    assert (table.writer in ours) == table.name.startswith("quality.")


@every_table
def test_rows_are_sorted_by_columns_of_the_table(table: Table) -> None:
    assert set(table.sort) <= set(names(table))


@every_table
def test_partitions_are_made_from_its_own_columns(table: Table) -> None:
    sources = {transform.rpartition("(")[2].rstrip(")") for transform in table.partition}
    assert sources <= set(names(table))


@every_table
def test_the_grain_can_stand_in_the_comment_of_its_ddl(table: Table) -> None:
    assert "'" not in table.grain
    assert f"COMMENT '{table.grain}'" in table.create_sql("lake")


@every_table
def test_a_name_has_a_layer_and_the_writer_makes_it_there(table: Table) -> None:
    layer, _, _ = table.name.partition(".")
    assert layer in {"bronze", "silver", "gold", "quarantine", "quality"}
    assert table.create_sql("lake").startswith(f"CREATE TABLE IF NOT EXISTS lake.{table.name} (")


@every_table
def test_an_upsert_can_be_replicated_by_its_changes(table: Table) -> None:
    if table.strategy == "upsert" and table.writer in NAMES:
        assert "change_id" in names(table)


def test_a_table_has_one_entry_and_so_one_writer() -> None:
    assert [n for n, count in Counter(t.name for t in TABLES).items() if count > 1] == []


@pytest.mark.parametrize(
    "table", [t for t in TABLES if "quarantine" in t.name], ids=lambda t: t.name
)
def test_quarantine_keeps_the_message_whole_with_the_rules_it_failed(table: Table) -> None:
    assert {"key", "value", "headers", "rules"} <= set(names(table))
