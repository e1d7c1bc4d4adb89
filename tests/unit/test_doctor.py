"""`storelake doctor`: what a machine lacks, in a sentence each, with what to do."""

from __future__ import annotations

import json
import socket
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from conf.settings import Settings
from infra.local import doctor, machine
from infra.local.doctor import MachineCheck, examine


def found(settings: Settings, check: str) -> MachineCheck:
    return next(one for one in examine(settings) if one.check == check)


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    """A deployment that was never started, on a machine that has nothing of it."""
    return settings.model_copy(
        update={"var_dir": tmp_path / "var", "cache_dir": tmp_path / "cache", "java_home": None}
    )


def test_a_machine_that_never_started_anything_is_examined_whole(own: Settings) -> None:
    findings = list(examine(own))
    assert [one for one in findings if one.state == "wrong"] == []
    assert found(own, "folder").detail.endswith("will be made")
    assert "fetches Kafka (44 MB), Spark's jars" in found(own, "downloads").detail
    assert not own.var_dir.exists()


def test_a_taken_port_names_its_process_and_the_setting(own: Settings) -> None:
    with socket.create_server((own.postgres.host, own.postgres.port)):
        port = found(own, "ports of postgres")
    assert port.state == "wrong"
    assert "is taken by process" in port.detail
    assert "STORELAKE_POSTGRES__PORT" in port.action


def test_a_machine_without_java(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.checks.shutil.which", lambda *_, **__: None)
    java = found(own, "java")
    assert (java.state, java.detail) == ("wrong", "No Java was found")
    assert java.action.startswith("install Java 17 or newer")


@pytest.mark.parametrize(
    ("limit", "check", "state"),
    [
        ("LEAST_CORES", "cores", "warning"),
        ("NEEDED_GIB", "memory", "wrong"),
        ("LEAST_SHARED_BYTES", "shared memory", "wrong"),
        ("LEAST_FILES", "open files", "warning"),
    ],
)
def test_a_machine_that_is_too_small(
    own: Settings, monkeypatch: pytest.MonkeyPatch, limit: str, check: str, state: str
) -> None:
    monkeypatch.setattr(machine, limit, 2**60)
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    one = found(own, check)
    assert one.state == state
    assert one.action


def test_a_container_has_the_memory_of_its_limit(
    own: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "CGROUP_LIMITS", (limit,))
    limit.write_text(f"{2**30}\n")
    assert found(own, "memory").detail.startswith("1.0 GiB")
    limit.write_text("max\n")
    assert found(own, "memory").state != "wrong"


def test_packages_of_other_versions_are_named(
    own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version
    other = {"numpy": "1.0", "pyarrow": "1.0"}
    monkeypatch.setattr(metadata, "version", lambda name: other.get(name) or real(name))
    packages = found(own, "packages")
    assert packages.state == "warning"
    assert "numpy 1.0, not ==" in packages.detail


def test_others_must_not_reach_the_folder_nor_the_secrets(own: Settings) -> None:
    own.var_dir.mkdir(mode=0o755)
    assert found(own, "folder").state == "warning"
    own.secrets_file.write_text("STORELAKE_POSTGRES__PASSWORD=x\n")
    own.secrets_file.chmod(0o644)
    assert found(own, "secrets").action == f"run chmod 600 {own.secrets_file}."


def test_a_file_in_the_place_of_the_folder_is_one_sentence(own: Settings) -> None:
    own.var_dir.touch()
    folder = found(own, "folder")
    assert (folder.state, str(own.var_dir) in folder.detail) == ("wrong", True)


def test_the_command_ends_with_1_when_something_must_be_mended(
    own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.doctor.read_settings", lambda _: own)
    wrong = MachineCheck("java", "wrong", "No Java", "install it")
    monkeypatch.setattr(doctor, "examine", lambda _: [wrong])
    text = CliRunner().invoke(app, ["doctor"])
    parsed = CliRunner().invoke(app, ["doctor", "--format", "json"])
    assert (text.exit_code, parsed.exit_code) == (1, 1)
    assert json.loads(parsed.stdout) == [
        {"check": "java", "state": "wrong", "detail": "No Java", "action": "install it"}
    ]
