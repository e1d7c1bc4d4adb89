"""Functions of the database: one a file, named as the file, none of them in a migration."""

import re
from pathlib import Path

import pytest

from infra.postgres.migrate import FUNCTIONS, MIGRATIONS

DEFINED = re.compile(r"^CREATE (OR REPLACE )?FUNCTION (\w+)", re.MULTILINE)


@pytest.mark.parametrize("file", sorted(FUNCTIONS.glob("*.sql")), ids=lambda file: file.stem)
def test_a_file_replaces_the_function_of_its_name(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert DEFINED.findall(text) == [("OR REPLACE ", file.stem)]
    assert re.match(r"(-- .+\n)+-- Returns: .+\n(-- .+\n)*CREATE", text)


def test_a_migration_defines_only_functions_of_generated_columns() -> None:
    text = "".join(file.read_text("utf-8") for file in sorted(MIGRATIONS.glob("*.sql")))
    assert [name for _, name in DEFINED.findall(text)] == ["items_total", "currency_places"]
    assert "DROP FUNCTION items_total(jsonb);" in text
    assert re.search(r"currency_places\(currency\)\) END\) STORED", text)
