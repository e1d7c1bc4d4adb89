"""The generated pages: their content, and the check for stale ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from pydantic import SecretStr

from benchmarks import RESULTS
from benchmarks.parts import PARTS, Part, read_result
from streaming.lake.ddl import Column, parse_columns, split_top_level
from streaming.lake.tables import TABLES
from streaming.registry import NAMES
from tools.docs.files import ROOT, DocsError, check_files, write_files
from tools.docs.settings_page import settings_page, type_words
from tools.docs.tables_page import tables_page


def test_columns_are_split_at_commas_outside_of_brackets_and_quotes() -> None:
    ddl = "a int, b array<struct<x: int, y: decimal(12,2)>> COMMENT 'one, two',\n  c date"
    assert split_top_level(ddl) == [
        "a int",
        "b array<struct<x: int, y: decimal(12,2)>> COMMENT 'one, two'",
        "c date",
    ]


def test_a_column_has_a_name_a_type_and_perhaps_a_comment() -> None:
    assert parse_columns("price decimal(12,2) COMMENT 'in the till''s currency', n int") == [
        Column("price", "decimal(12,2)", "in the till's currency"),
        Column("n", "int", ""),
    ]


def test_every_table_has_a_section_with_every_column() -> None:
    page = tables_page()
    common = page.split("\n## Common columns\n")[1].split("\n## ")[0]
    for table in TABLES:
        section = page.split(f"\n## {table.name}\n")[1].split("\n## ")[0]
        assert f"| {table.grain} | `{table.writer}` |" in page
        columns = parse_columns(table.columns)
        assert set(table.key) <= {c.name for c in columns}
        for c in columns:
            row = f"| `{c.name}` | `{c.type}` | {c.comment}"
            assert row in section or (f"`{c.name}`" in section and row in common)


def test_every_setting_is_shown_with_its_variable_type_and_default() -> None:
    page = settings_page(ROOT)
    assert "| `STORELAKE_KAFKA__PORT` | integer ≥0, ≤65535 | `19092` |" in page
    assert "| `STORELAKE_STREAMS__WATERMARK` | duration | `PT5M` |" in page
    assert "| `STORELAKE_JAVA_HOME` or `JAVA_HOME` | path | none |" in page
    assert "integer ≥1" in page


def test_a_secret_is_a_secret_and_no_path_of_this_machine_is_shown() -> None:
    page = settings_page(ROOT)
    assert "| `STORELAKE_POSTGRES__PASSWORD` | secret | none |" in page
    assert str(ROOT) not in page
    assert str(Path.home()) not in page


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_result_file_has_every_figure_of_its_part(part: Part) -> None:
    result = read_result(RESULTS, part.name)
    assert result is None or "-" not in [figure.of(result) for figure in part.figures]


def test_types_are_given_in_words() -> None:
    assert type_words(SecretStr | None) == "secret"
    assert type_words(Literal["a", "b"]) == "`a` or `b`"
    assert type_words(tuple[str, ...]) == "list of text"
    assert type_words(dict[str, int]) == "object of integer"


def test_a_file_is_written_once_and_a_stale_one_fails_the_check(tmp_path: Path) -> None:
    page, contracts = tmp_path / "docs" / "TABLES.md", tmp_path / "conf" / "contracts"
    page.parent.mkdir()
    contracts.mkdir(parents=True)
    written = write_files(tmp_path)
    assert written[:3] == ["docs/TABLES.md", "docs/CONFIGURATION.md", "docs/CONTRACTS.md"]
    assert "conf/contracts/silver.orders.odcs.yaml" in written
    check_files(tmp_path)

    page.write_text("old", encoding="utf-8")
    with pytest.raises(DocsError, match=r"docs/TABLES.md does not match the code: run `make docs`"):
        check_files(tmp_path)
    assert page.read_text(encoding="utf-8") == "old"

    (contracts / "silver.gone.odcs.yaml").write_text("of a table that is no more", "utf-8")
    assert write_files(tmp_path) == [
        "docs/TABLES.md",
        "conf/contracts/silver.gone.odcs.yaml",
    ]
    assert not (contracts / "silver.gone.odcs.yaml").exists()


def test_the_diagram_of_the_flow_has_every_stream() -> None:
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    diagrams = "".join(re.findall(r"```mermaid\n(.*?)```", page, re.DOTALL))
    assert set(NAMES) <= set(re.findall(r"\w+", diagrams))
