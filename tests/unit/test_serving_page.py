"""The serving database on the generated page of tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.postgres.migrate import MIGRATIONS
from tools.docs.relations import Relation, ServedColumn, read_relations
from tools.docs.tables_page import tables_page


def test_a_table_and_a_view_are_read_from_the_migrations(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text(
        "CREATE TABLE visits (\n"
        "    branch text NOT NULL, -- PRIMARY KEY (nothing);\n"
        "    day date CHECK (day > '2000-01-01'),\n"
        "    PRIMARY KEY (branch, day)\n"
        ");\n"
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$\n"
        "CREATE TABLE hidden (\n"
        ");\n"
        "$$;\n",
        encoding="utf-8",
    )
    (tmp_path / "0002_b.sql").write_text(
        "CREATE TABLE shops (\n    shop text PRIMARY KEY,\n    town text\n);\n"
        "ALTER TABLE shops\n    ADD CHECK (size >= 0),\n"
        "    ADD COLUMN size numeric(8, 2) NOT NULL;\n"
        "COMMENT ON COLUMN shops.size IS 'Square metres.';\n"
        "COMMENT ON TABLE visits IS\n    'A branch''s day.';\n"
        "CREATE VIEW v_visits AS SELECT 1;\n"
        "COMMENT ON VIEW v_visits IS 'One branch. Key: branch, day.';\n",
        encoding="utf-8",
    )
    visits = (
        ServedColumn("branch", "text", required=True, comment=""),
        ServedColumn("day", "date", required=True, comment=""),
    )
    shops = (
        ServedColumn("shop", "text", required=True, comment=""),
        ServedColumn("town", "text", required=False, comment=""),
        ServedColumn("size", "numeric(8, 2)", required=True, comment="Square metres."),
    )
    assert read_relations(tmp_path) == [
        Relation("visits", "table", "A branch's day.", ("branch", "day"), visits),
        Relation("shops", "table", "", ("shop",), shops),
        Relation("v_visits", "view", "One branch.", ("branch", "day")),
    ]


@pytest.mark.parametrize("relation", read_relations(MIGRATIONS), ids=lambda r: r.name)
def test_every_table_and_view_documents_its_grain_and_key(relation: Relation) -> None:
    assert relation.grain
    assert relation.key
    assert f"| `{relation.name}` | {relation.kind} | {relation.grain}" in tables_page()
