"""The schema of the database: migrations for tables, files of functions that are applied again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from yoyo import get_backend, read_migrations

from conf.settings import Settings
from infra.errors import ServiceError
from infra.postgres import migrate as migrations
from infra.postgres.migrate import FUNCTIONS, MIGRATIONS, migrate
from tests.support.postgres_local import own_postgres

pytestmark = pytest.mark.requirement("O7")

FUNCTION = (
    "CREATE OR REPLACE FUNCTION {name}() RETURNS {type} LANGUAGE sql AS $$ SELECT {value} $$;"
)


@pytest.fixture(scope="module")
def server(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a database server of this module, with its password."""
    with own_postgres(settings, tmp_path_factory.mktemp("migrations")) as postgres:
        yield postgres.settings


@pytest.fixture
def empty(server: Settings) -> Settings:
    """A database without any table."""
    execute(server, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    execute(server, "DROP TABLE IF EXISTS _yoyo_migration")
    return server


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that stands for `functions/`, with one function that returns 1."""
    folder = tmp_path / "functions"
    folder.mkdir()
    monkeypatch.setattr(migrations, "FUNCTIONS", folder)
    write(folder, "one")
    return folder


def write(folder: Path, name: str, returns: str = "integer", value: str = "1") -> None:
    text = FUNCTION.format(name=name, type=returns, value=value)
    (folder / f"{name}.sql").write_text(text)


def execute(settings: Settings, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(settings.owner_dsn) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_a_new_database_gets_every_function_once(empty: Settings) -> None:
    names = [f"{file.stem}()" for file in sorted(FUNCTIONS.glob("*.sql"))]
    assert migrate(empty)[-len(names) :] == names
    assert migrate(empty) == []
    found = execute(
        empty, "SELECT proname || '()' FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    )
    # currency_places() is a part of tables: a migration defines it
    assert {name for (name,) in found} == {*names, "currency_places()"}


def test_only_a_changed_file_is_applied_again(empty: Settings, functions: Path) -> None:
    write(functions, "other")
    assert migrate(empty)[-2:] == ["one()", "other()"]
    write(functions, "one", value="2")
    assert migrate(empty) == ["one()"]
    assert execute(empty, "SELECT one(), other()") == [(2, 1)]
    assert migrate(empty) == []


def test_a_function_that_was_dropped_by_hand_is_applied_again(
    empty: Settings, functions: Path
) -> None:
    migrate(empty)
    execute(empty, "DROP FUNCTION one")
    assert migrate(empty) == ["one()"]


def test_a_database_of_an_earlier_release_upgrades(empty: Settings, tmp_path: Path) -> None:
    """Its functions came with its migrations, and its rows are kept."""
    for file in sorted(MIGRATIONS.glob("*.sql"))[:11]:
        shutil.copy(file, tmp_path)
    (tmp_path / "0016_crossings_once.sql").write_text(
        FUNCTION.format(name="upsert_footfall_minute", type="void", value="NULL::void")
    )
    conf = empty.postgres.acting_as("owner")
    address = f"{conf.user}:{conf.secret}@{conf.host}:{conf.port}/{conf.database}"
    with get_backend(f"postgresql+psycopg://{address}") as backend:
        backend.apply_migrations(read_migrations(str(tmp_path)))
    execute(empty, "INSERT INTO stream_offsets VALUES ('footfall', 'detections', 0, '1')")
    applied = migrate(empty)
    assert "0012_store_hourly" in applied
    assert "0011_tracks" not in applied
    assert "upsert_footfall_minute()" in applied
    execute(
        empty,
        "CREATE TEMP TABLE frame_counts AS SELECT 'B01' AS branch_id, 'entrance' AS camera_id, "
        "now() AS captured_at, 1 AS entries, 0 AS exits, 1 AS frames, 0 AS late_frames, "
        "1 AS people; SELECT upsert_footfall_minute()",
    )
    assert execute(empty, "SELECT entries, frames FROM footfall_minute") == [(1, 1)]
    assert execute(empty, "SELECT stream FROM stream_offsets") == [("footfall",)]


OLDER_ROWS = """
    INSERT INTO orders_processed (order_id, branch_id, status, currency, first_event_at,
        last_event_at, status_version)
    VALUES ('O-1', 'B01', 'completed', 'EUR', now(), now(), '1'),
        ('O-2', 'B01', 'cancelled', 'JPY', now(), now(), '1');
    INSERT INTO order_contributions
    SELECT o, 'B01', '2024-05-01T10:00Z', total, 'cash', status, '1', '1' FROM (VALUES
        ('O-1', 2.50, 'completed'), ('O-2', 900, 'cancelled'), ('O-3', 1, 'pending')
    ) v (o, total, status);
    INSERT INTO order_contributions (order_id, status, status_version) VALUES ('O-4', 'pending', 1);
    INSERT INTO order_metrics VALUES ('2024-05-01', '2024-05-01T10:00Z', 'B01', 3, 903.5, 3.5,
        DEFAULT, 1, 0, 1, 1, 3, 0, true, 7, now());
    INSERT INTO product_orders VALUES ('O-1', 'B01', '2024-05-01', 'completed', '1', '1'),
        ('O-2', 'B01', '2024-05-01', 'cancelled', '1', '1');
    INSERT INTO order_items VALUES ('O-1', 1, 'P-1', 'MILK', 'DAIRY', 2, 1.25),
        ('O-2', 1, 'P-1', 'MILK', 'DAIRY', 3, 300);
    INSERT INTO order_items_analytics VALUES ('B01', '2024-05-01', 'P-1', 'MILK', 'DAIRY', 2, 5,
        902.5, 1, 3, 900, DEFAULT, DEFAULT, '1', 4, now());
    INSERT INTO store_hourly VALUES ('B01', '2024-05-01T10:00Z', '2024-05-01 12:00', 2, 3, 1.5,
        903.5, 3.5, 451.75, 0.1, true, 5, 5, now())"""


def test_hours_and_products_of_an_earlier_release_are_split_by_currency(
    empty: Settings, tmp_path: Path
) -> None:
    for file in sorted(MIGRATIONS.glob("*.sql")):
        if file.name < "0024":
            shutil.copy(file, tmp_path)
    conf = empty.postgres.acting_as("owner")
    address = f"{conf.user}:{conf.secret}@{conf.host}:{conf.port}/{conf.database}"
    with get_backend(f"postgresql+psycopg://{address}") as backend:
        backend.apply_migrations(read_migrations(str(tmp_path)))
    execute(empty, OLDER_ROWS)
    migrate(empty)
    assert execute(
        empty,
        "SELECT currency, order_count, total_revenue, net_revenue, is_final, "
        "final_order_count FROM order_metrics ORDER BY currency",
    ) == [
        ("EUR", 1, Decimal("2.50"), Decimal("2.50"), True, 1),
        ("JPY", 1, 900, 0, True, 1),
        ("XXX", 1, 1, 1, True, 1),
    ]
    assert execute(
        empty, "SELECT currency, net_quantity, net_revenue FROM order_items_analytics ORDER BY 1"
    ) == [("EUR", 2, Decimal("2.50")), ("JPY", 0, 0)]
    assert len(execute(empty, "SELECT * FROM payments_hourly")) == 3
    branch = '[{"branch_id": "B01", "timezone": "UTC", "currency": "EUR", "cameras": 1}]'
    execute(empty, f"SELECT upsert_store_hourly('{branch}', 0.5)")
    assert execute(
        empty,
        "SELECT orders, orders_other_currency, revenue, conversion_withheld FROM store_hourly",
    ) == [(3, 2, Decimal("2.50"), "no visitors counted")]


def test_a_broken_file_changes_no_function(empty: Settings, functions: Path) -> None:
    migrate(empty)
    write(functions, "one", value="2")
    write(functions, "wrong", value="1 +")
    with pytest.raises(ServiceError) as failure:
        migrate(empty)
    (sentence,) = str(failure.value).splitlines()
    assert sentence.startswith("Function wrong() failed and all functions were rolled back (syntax")
    assert "correct functions/wrong.sql" in sentence
    assert execute(empty, "SELECT one()") == [(1,)]


def test_a_new_signature_needs_a_migration_that_drops_the_old_one(
    empty: Settings, functions: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    migrate(empty)
    write(functions, "one", returns="text", value="'1'")
    with pytest.raises(ServiceError, match=r"change return type.*migration that drops the old"):
        migrate(empty)
    (tmp_path / "9001_drop.sql").write_text("DROP FUNCTION one();")
    monkeypatch.setattr(migrations, "MIGRATIONS", tmp_path)
    assert migrate(empty) == ["9001_drop", "one()"]
    assert execute(empty, "SELECT one()") == [("1",)]
