"""Jars of Spark's JVM: resolved by Ivy once, then named directly."""

from __future__ import annotations

from pathlib import Path

import pytest

from conf.settings import load_settings
from streaming.runtime.launch import EXCLUDES, PACKAGES, keep_jars, with_known_jars
from streaming.runtime.session import launch_conf

JARS = ("iceberg.jar", "postgresql.jar")


@pytest.fixture
def resolved(tmp_path: Path) -> dict[str, str]:
    """Launch properties whose jars an earlier start has resolved."""
    conf = launch_conf(load_settings(cache_dir=tmp_path))
    folder = tmp_path / "ivy" / "jars"
    folder.mkdir(parents=True)
    for name in JARS:
        (folder / name).touch()
    keep_jars(conf, ",".join((folder / name).as_uri() for name in JARS))
    return conf


def test_spark_shows_its_ui_where_the_settings_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch_conf(load_settings())["spark.ui.enabled"] == "false"
    monkeypatch.setenv("STORELAKE_SPARK__UI", "true")
    assert launch_conf(load_settings())["spark.ui.enabled"] == "true"


def test_the_first_start_resolves_packages(tmp_path: Path) -> None:
    conf = launch_conf(load_settings(cache_dir=tmp_path))
    assert with_known_jars(conf) == conf


def test_later_starts_name_the_jars(resolved: dict[str, str], tmp_path: Path) -> None:
    given = with_known_jars(resolved)
    assert not {PACKAGES, EXCLUDES} & given.keys()
    paths = [str(tmp_path / "ivy" / "jars" / name) for name in JARS]
    assert given["spark.jars"].split(",") == paths


@pytest.mark.parametrize("key", [PACKAGES, EXCLUDES])
def test_other_packages_are_resolved_again(resolved: dict[str, str], key: str) -> None:
    changed = resolved | {key: "org.example:other:1.0"}
    assert with_known_jars(changed) == changed


def test_a_jar_that_is_gone_is_resolved_again(resolved: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "ivy" / "jars" / JARS[0]).unlink()
    assert with_known_jars(resolved) == resolved
