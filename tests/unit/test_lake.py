"""The lake in each of its formats: one behaviour, by the suite, and what only one of them has."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyiceberg.serializers import FromInputFile
from pyiceberg.transforms import DayTransform

from conf.settings import Settings, SettingsError, load_settings
from quality.publish import begin_branch
from streaming.lake import formats, tables
from streaming.lake.ddl import parse_columns
from streaming.lake.delta import tables as delta_tables
from streaming.lake.delta.lake import DeltaLake
from streaming.lake.iceberg import lake as iceberg
from streaming.lake.iceberg.catalog import KnowingCatalog
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.protocol import LakeError
from streaming.runtime.session import launch_conf, session_conf
from tests.support.lake_suite import (
    EVENTS,
    MAY,
    SALES,
    TABLES,
    LakeSuite,
    Shop,
    events,
    offset,
    sales,
    sold,
    widened,
)

pytestmark = pytest.mark.requirement("L1")

ARROW = {
    "string": pa.string(),
    "array<string>": pa.list_(pa.string()),
    "int": pa.int32(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}


def settings_of(table_format: str, folder: Path) -> Settings:
    catalog = {"format": table_format, "warehouse": f"file://{folder}/warehouse"}
    return load_settings(var_dir=folder, catalog=catalog)


class TestIceberg(LakeSuite):
    @pytest.fixture
    def shop(self, tmp_path: Path) -> Iterator[Shop]:
        settings = settings_of("iceberg", tmp_path)
        place = {"uri": f"sqlite:///{tmp_path}/c.db", "warehouse": settings.warehouse}
        catalog = KnowingCatalog("test", **place)

        def make(table: tables.Table) -> None:
            columns = [(c.name, ARROW[c.type]) for c in parse_columns(table.columns)]
            catalog.create_table(table.name, pa.schema(columns))

        for table in TABLES:
            catalog.create_namespace(table.name.split(".")[0])
            make(table)

        def widen(table: tables.Table, column: str) -> None:
            with catalog.load_table(table.name).update_schema() as change:
                change.union_by_name(pa.schema([(column, pa.string())]))

        with IcebergLake(settings, catalog) as lake:
            yield Shop(lake, widen, lambda table: catalog.drop_table(table.name), make)

    def test_a_partition_spec_that_changes_under_a_stream_changes_no_row(self, shop: Shop) -> None:
        assert isinstance(shop.lake, IcebergLake)
        june = date(2024, 6, 1)
        shop.lake.append(EVENTS, events(1, 2), 0)
        shop.lake.upsert(SALES, sales(("A", 1), ("B", 1)), "day")
        with shop.lake.load(EVENTS).update_spec() as spec:
            spec.add_field("at", DayTransform(), "at_day")
        with shop.lake.load(SALES).update_spec() as spec:
            spec.add_identity("shop")
        assert shop.lake.append(EVENTS, events(2, 3), 1) == 1
        shop.lake.upsert(SALES, sales(("A", 2), ("C", 3)), "day")
        with shop.lake.load(SALES).update_spec() as spec:
            spec.remove_field("shop")
        shop.lake.upsert(SALES, sales(("A", 3)), "day")
        shop.lake.upsert(SALES, sales(("A", 4), day=june), "day")

        assert [p for _, _, p in shop.positions()] == [offset(n) for n in (1, 2, 3)]
        assert sold(shop.rows(SALES)) == {
            ("A", MAY): 3,
            ("B", MAY): 1,
            ("C", MAY): 3,
            ("A", june): 4,
        }

    def test_an_upsert_is_one_snapshot_and_leaves_no_empty_manifest_behind(
        self, shop: Shop
    ) -> None:
        assert isinstance(shop.lake, IcebergLake)
        for day in range(1, 4):
            shop.lake.upsert(SALES, sales(("A", 0), day=date(2024, 5, day)), "day")
        for number in range(1, 9):
            shop.lake.upsert(SALES, sales(("A", number), day=date(2024, 5, 2)), "day")
        loaded = shop.lake.load(SALES)
        (now,) = [s for s in loaded.snapshots() if s == loaded.current_snapshot()]
        manifests = now.manifests(loaded.io)

        assert len(loaded.snapshots()) == 3 + 8
        live = [m.fetch_manifest_entry(loaded.io, discard_deleted=True) for m in manifests]
        assert sum(map(len, live)) == len({date(2024, 5, day) for day in range(1, 4)})
        # What the newest commit took out is named once more, for whoever follows the changes.
        assert [len(entries) for entries in live].count(0) == 1
        assert sold(shop.rows(SALES)) == {
            ("A", date(2024, 5, 1)): 0,
            ("A", date(2024, 5, 2)): 8,
            ("A", date(2024, 5, 3)): 0,
        }

    def test_an_upsert_leaves_alone_what_is_old_once_there_is_much_of_it(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert isinstance(shop.lake, IcebergLake)
        monkeypatch.setattr(iceberg, "REWRITTEN_ROWS", 3)
        days = [date(2024, 5, day) for day in range(1, 9)]
        seen: list[set[str]] = []
        for number, day in enumerate(days):
            shop.lake.upsert(SALES, sales(("A", number), ("B", number), day=day), "day")
            shop.lake.upsert(SALES, sales(("A", -number), day=day), "day")
            files = shop.lake.load(SALES).scan().plan_files()
            seen.append({task.file.file_path for task in files})

        assert sold(shop.rows(SALES)) == {
            **{("A", day): -number for number, day in enumerate(days)},
            **{("B", day): number for number, day in enumerate(days)},
        }
        assert seen[3] & seen[7]  # a file of old rows is never written again
        assert len(seen[7]) <= len(days)

    def test_a_catalog_with_cached_metadata_sees_commits_of_others(
        self, shop: Shop, tmp_path: Path
    ) -> None:
        assert isinstance(shop.lake, IcebergLake)
        warehouse = shop.lake.settings.warehouse
        with IcebergLake(
            shop.lake.settings,
            KnowingCatalog("test", uri=f"sqlite:///{tmp_path}/c.db", warehouse=warehouse),
        ) as other:
            for number in range(1, 4):
                shop.lake.upsert(SALES, sales(("A", number)), "day")
                mine = {("A", MAY): number, **({("B", MAY): number - 1} if number > 1 else {})}
                assert sold(other.read(SALES.name).to_pylist()) == mine
                other.upsert(SALES, sales(("B", number)), "day")
                assert sold(shop.rows(SALES)) == {("A", MAY): number, ("B", MAY): number}

    def test_cached_metadata_is_not_read_again(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert isinstance(shop.lake, IcebergLake)
        shop.lake.upsert(SALES, sales(("A", 1)), "day")
        monkeypatch.setattr(FromInputFile, "table_metadata", None)

        shop.lake.upsert(SALES, sales(("A", 2)), "day")
        assert sold(shop.rows(SALES)) == {("A", MAY): 2}

    def test_only_what_a_table_lacks_is_added_to_it(self) -> None:
        table = replace(SALES, columns="shop string, sold int COMMENT 'pieces, net', note string")
        assert table.add_sql("lake", {"sold", "note"}) == (
            "ALTER TABLE lake.gold.sales ADD COLUMNS (sold int COMMENT 'pieces, net', note string)"
        )


class TestDelta(LakeSuite):
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return settings_of("delta", tmp_path)

    @pytest.fixture
    def shop(self, settings: Settings) -> Iterator[Shop]:
        delta_tables.create_tables(settings, TABLES)

        def widen(table: tables.Table, column: str) -> None:
            delta_tables.create_tables(settings, [widened(table, column)])

        def drop(table: tables.Table) -> None:
            shutil.rmtree(delta_tables.location(settings, table.name).removeprefix("file://"))

        def make(table: tables.Table) -> None:
            delta_tables.create_tables(settings, [table])

        with DeltaLake(settings) as lake:
            yield Shop(lake, widen, drop, make)

    def test_the_guard_is_a_txn_of_the_log(self, shop: Shop, settings: Settings) -> None:
        shop.lake.append(EVENTS, events(41, partition=3), 0)
        table = DeltaTable(delta_tables.location(settings, EVENTS.name))
        assert table.transaction_version("orders/3/0") == 41

    def test_maintenance_by_others_does_not_disarm_the_guard(
        self, shop: Shop, settings: Settings
    ) -> None:
        for number in range(3):
            shop.lake.append(EVENTS, events(number), number)
        table = DeltaTable(delta_tables.location(settings, EVENTS.name))
        table.optimize.compact()
        table.vacuum(0, dry_run=False, enforce_retention_duration=False)
        table.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
        table.create_checkpoint()
        table.cleanup_metadata()
        assert len(table.history()) < 3

        assert shop.lake.another().append(EVENTS, events(0, 1, 2, 3), 0) == 1
        assert len(shop.positions()) == 4

    def test_where_the_log_has_expired_a_version_everything_counts_as_new(
        self, shop: Shop, settings: Settings
    ) -> None:
        for number in range(3):
            shop.lake.append(EVENTS, events(number), number)
        table = DeltaTable(delta_tables.location(settings, EVENTS.name))
        table.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
        table.create_checkpoint()
        table.cleanup_metadata()

        state = shop.lake.state(EVENTS.name)
        assert state is not None
        assert state.added_since(2).rows == 3

    def test_every_table_of_the_product_is_made_as_it_is_declared(self, settings: Settings) -> None:
        for _ in range(2):  # the second time there is nothing to do, and nothing is wrong
            delta_tables.create_tables(settings)
        with DeltaLake(settings) as lake:
            for table in tables.TABLES:
                assert lake.schema(table.name).names == [c.name for c in table.fields]
                assert lake.read(table.name).num_rows == 0
        silver = DeltaTable(delta_tables.location(settings, "silver.orders"))
        comments = {f.name: f.metadata.get("comment") for f in silver.schema().fields}
        assert comments["local_date"] == "of created_at, where the branch is"
        assert silver.metadata().partition_columns == []

    def test_a_column_of_another_type_is_refused(self, shop: Shop, settings: Settings) -> None:
        with pytest.raises(LakeError, match=r"gold\.sales\.sold is int in the lake and bigint"):
            delta_tables.create_tables(
                settings, [replace(SALES, columns="shop string, day date, sold bigint")]
            )
        assert shop.lake.schema(SALES.name).field("sold").type == pa.int32()

    def test_a_folder_with_an_iceberg_table_is_refused(self, settings: Settings) -> None:
        folder = Path(
            delta_tables.location(settings, SALES.name).removeprefix("file://"), "metadata"
        )
        folder.mkdir(parents=True)
        (folder / "00000.metadata.json").write_text("{}", encoding="utf-8")
        with pytest.raises(LakeError, match=r"gold\.sales as an Iceberg table: give Delta"):
            delta_tables.create_tables(settings, TABLES)

    def test_a_feature_that_only_iceberg_has_is_refused_in_one_sentence(
        self, settings: Settings
    ) -> None:
        with pytest.raises(LakeError, match=r"A branch of a table needs Iceberg.*FORMATS\.md"):
            begin_branch(settings, "silver.orders", "repair")

    def test_without_its_package_one_sentence_names_what_to_install(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(__import__("sys").modules, "streaming.lake.delta.lake", None)
        with pytest.raises(SettingsError, match=r"install storelake\[delta\]"):
            formats.open_lake(settings)


def test_spark_loads_the_format_that_is_set_and_delta_needs_no_password(
    tmp_path: Path,
) -> None:
    settings = settings_of("delta", tmp_path)
    assert settings.postgres.password is None
    conf = launch_conf(settings) | session_conf(settings)
    assert "io.delta:delta-spark" in conf["spark.jars.packages"]
    assert "iceberg" not in repr(conf)


def test_each_format_has_folders_of_its_own(tmp_path: Path) -> None:
    both = [
        load_settings(var_dir=tmp_path, catalog={"format": name}) for name in ("iceberg", "delta")
    ]
    assert len({s.warehouse for s in both}) == 2
    assert len({s.checkpoints for s in both}) == 2
