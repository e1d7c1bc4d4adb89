"""Files of a deployment are for their owner only: made so, and mended where they are not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from conf.settings import load_settings
from infra.local.passwords import with_known_secrets
from infra.local.places import Places, server_account
from infra.local.private_files import close_to_others
from infra.local.process import PRIVATE
from tests.conftest import free_ports

pytestmark = [pytest.mark.requirement("O2"), pytest.mark.timeout(600)]

PORTS = ("KAFKA__PORT", "KAFKA__CONTROLLER_PORT", "POSTGRES__PORT")


def open_paths(folder: Path) -> set[Path]:
    """What somebody else than its owner may list, read, write or run; links have no modes."""
    paths = (folder, *folder.rglob("*"))
    return {one for one in paths if not one.is_symlink() and one.lstat().st_mode & PRIVATE}


class Deployment:
    """A `var` in a folder that everybody enters, so that Postgres keeps its data in it for root."""

    def __init__(self, folder: Path) -> None:
        self.var = folder / "var"
        ports = {
            f"STORELAKE_{name}": str(port) for name, port in zip(PORTS, free_ports(3), strict=True)
        }
        known = {k: v for k, v in os.environ.items() if not k.startswith("STORELAKE_")}
        self.environment = (
            known
            | ports
            | {
                "STORELAKE_PROFILE": "test",
                "STORELAKE_VAR_DIR": str(self.var),
            }
        )

    def run(self, *arguments: str) -> str:
        """`storelake` with the umask of most systems; returns its standard error."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env=self.environment,
            umask=0o022,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    @property
    def passable(self) -> set[Path]:
        """Folders that the group of `nobody`, as which Postgres runs for root, may enter."""
        return set(Places(self.var / "postgres", server_account()).passable())


@pytest.fixture(scope="module")
def shop() -> Iterator[Deployment]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Deployment(Path(folder))
        try:
            made.run("up", "--services-only")
            yield made
        finally:
            made.run("down")


def test_what_a_start_makes_is_for_its_owner_only(shop: Deployment) -> None:
    assert open_paths(shop.var) == shop.passable
    assert {one.stat().st_mode & PRIVATE for one in shop.passable} <= {0o010}


def test_an_open_folder_of_an_earlier_version_is_closed_while_its_servers_run(
    shop: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (shop.var, *shop.var.rglob("*")):
        if "postgres/data" not in str(path):  # Postgres itself refuses to start on open data
            path.chmod(0o777 if path.is_dir() else 0o666)
    output = shop.run("up", "--services-only")
    assert "closing" in output
    assert open_paths(shop.var) == shop.passable
    monkeypatch.setattr(os, "environ", shop.environment)
    settings = with_known_secrets(load_settings())
    with psycopg.connect(settings.postgres.dsn) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_what_cannot_be_closed_is_named(tmp_path: Path) -> None:
    lake, var = tmp_path / "lake", tmp_path / "var"
    for folder in (lake, var / "kafka"):
        folder.mkdir(parents=True)
        folder.chmod(0o755)
    (var / "kafka" / "newest").symlink_to("log")
    (var / "lost").symlink_to("nowhere")
    os.mkfifo(var / "pipe", 0o666)
    assert close_to_others(var, print) == ""
    assert open_paths(var) == set()
    (var / "warehouse").symlink_to(lake)
    assert f"Other users may reach {lake}, and" in close_to_others(var, print)
    assert lake.stat().st_mode & PRIVATE  # somebody else may use it for something else
    assert "within 0 s" in close_to_others(var, print, seconds=0)
    assert close_to_others(tmp_path / "absent", print) == ""
