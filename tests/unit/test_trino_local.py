"""The local Trino: its Java and its configuration, without starting it."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from pydantic import SecretStr

from conf.settings import Settings
from infra.errors import ServiceError
from infra.local import checks, jars
from infra.local.services import services
from infra.local.trino import TrinoService
from tests.support.fake_java import fake_java


@pytest.fixture
def own(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a folder of their own, where no Java but that of the deployment is known."""
    monkeypatch.setattr(checks, "JVM_FOLDER", tmp_path / "jvm")
    monkeypatch.setenv("PATH", str(fake_java(tmp_path / "path", 'version "17.0.1"') / "bin"))
    known = settings.postgres.model_copy(update={"reader_password": SecretStr("s3cret-db")})
    return settings.model_copy(
        update={"var_dir": tmp_path / "var", "postgres": known, "java_home": None}
    )


def test_without_a_newer_java_trino_names_the_one_it_needs_and_its_setting(
    own: Settings,
) -> None:
    with pytest.raises(
        ServiceError,
        match=r"Java 24 or newer is needed for Trino, and .*java is Java 17\.0\.1: install a newer "
        r"one and set STORELAKE_TRINO__JAVA_HOME\.",
    ):
        TrinoService(own).start()


def test_a_newer_java_beside_the_one_of_the_sandbox_is_found(own: Settings, tmp_path: Path) -> None:
    home = fake_java(tmp_path / "jvm" / "temurin-25", 'version "25.0.1"')

    found = checks.find_newer_java((None, own.java_home), 24, "Trino", "X")

    assert found.path == str(home / "bin" / "java")
    assert checks.find_java(own.java_home).release == 17, "the rest of the deployment keeps its own"


def test_the_java_of_the_settings_comes_first(own: Settings, tmp_path: Path) -> None:
    fake_java(tmp_path / "jvm" / "temurin-25", 'version "25.0.1"')
    named = fake_java(tmp_path / "mine", 'version "26.0.1"')
    assert checks.find_newer_java((named,), 24, "Trino", "X").release == 26


def test_a_query_may_take_half_of_the_heap_and_then_spills_to_disk(own: Settings) -> None:
    conf = own.trino.model_copy(update={"heap_mb": 2048})
    properties = TrinoService(own.model_copy(update={"trino": conf})).configuration(Path("jars"))
    assert "query.max-memory-per-node=1024MB" in properties
    assert "memory.heap-headroom-per-node=512MB" in properties
    assert f"spill-enabled=true\nspiller-spill-path={own.var_dir}/trino/spill" in properties


def test_the_lake_on_a_disk_is_read_from_its_files(own: Settings) -> None:
    properties = TrinoService(own).catalog()
    assert "fs.native-local.enabled=true" in properties
    assert f"default-warehouse-dir=file://{own.var_dir}/warehouse" in properties
    assert "iceberg.security=read_only" in properties, "a table has one writer"


def test_the_lake_on_s3_is_read_with_its_region_and_keys(own: Settings) -> None:
    s3 = own.s3.model_copy(
        update={
            "endpoint": "http://127.0.0.1:9999",
            "region": "eu-central-1",
            "access_key": SecretStr("who"),
            "secret_key": SecretStr("s3cret-s3"),
        }
    )
    catalog = own.catalog.model_copy(update={"warehouse": "s3://lake/warehouse"})
    properties = TrinoService(own.model_copy(update={"s3": s3, "catalog": catalog})).catalog()
    assert "s3.endpoint=http://127.0.0.1:9999\ns3.region=eu-central-1\n" in properties
    assert "s3.aws-secret-key=s3cret-s3\n" in properties
    assert "native-local" not in properties


def test_a_rest_catalog_is_queried_with_its_token(own: Settings) -> None:
    rest = {"type": "rest", "uri": "http://127.0.0.1:9998", "token": SecretStr("s3cret-token")}
    catalog = own.catalog.model_copy(update=rest)
    text = TrinoService(own.model_copy(update={"catalog": catalog})).catalog()
    assert "iceberg.rest-catalog.uri=http://127.0.0.1:9998\n" in text
    assert "iceberg.rest-catalog.oauth2.token=s3cret-token\n" in text
    assert "jdbc" not in text


def test_passwords_are_in_a_file_of_its_owner_and_not_on_the_command_line(
    own: Settings, tmp_path: Path
) -> None:
    service = TrinoService(own)
    service.folder.mkdir(parents=True)
    service.configure()
    (file,) = (service.folder / "catalog").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "s3cret-db" in file.read_text()
    command = service.command(checks.Java("/java", "25.0.3"), tmp_path / "jars")
    assert "s3cret-db" not in " ".join(command)


def test_trino_belongs_to_the_sandbox_where_it_is_wanted(own: Settings) -> None:
    wanted = own.trino.model_copy(update={"enabled": True})
    names = [s.name for s in services(own.model_copy(update={"trino": wanted}))]
    assert "trino" in names
    assert "trino" not in [s.name for s in services(own)]


def test_of_the_archives_only_the_server_and_its_plug_in_remain(tmp_path: Path) -> None:
    core = f"trino-server-core-{jars.TRINO_VERSION}"
    with tarfile.open(tmp_path / f"{core}.tar.gz", "w:gz") as tar:
        for name in ("lib/io.trino_trino-main.jar", "bin/launcher", "plugin/x/y.jar"):
            member = tarfile.TarInfo(f"{core}/{name}")
            member.size = 4
            tar.addfile(member, io.BytesIO(b"jar!"))
        again = tarfile.TarInfo(f"{core}/lib/again.jar")
        again.type, again.linkname = tarfile.LNKTYPE, f"{core}/plugin/x/y.jar"
        tar.addfile(again)
    with zipfile.ZipFile(tmp_path / f"trino-iceberg-{jars.TRINO_VERSION}.zip", "w") as packed:
        packed.writestr(f"trino-iceberg-{jars.TRINO_VERSION}/iceberg.jar", "jar")

    jars.TRINO.unpack(tmp_path)

    found = sorted(str(f.relative_to(tmp_path)) for f in tmp_path.rglob("*") if f.is_file())
    assert found == ["again.jar", "io.trino_trino-main.jar", "plugin/iceberg/iceberg.jar"]
    assert (tmp_path / "again.jar").read_bytes() == b"jar!"
