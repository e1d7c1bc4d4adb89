"""What is sent to a cluster: packages, properties, checkpoints; no JVM is started."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from conf.settings import Settings, SettingsError, load_settings
from conf.storage import checkpoint_properties
from streaming.connect import connect_conf
from streaming.runtime.session import launch_conf, session_conf
from tools.docs.files import ROOT

pytestmark = pytest.mark.requirement("D2")

PACKAGES = ("conf", "streaming", "udfs")
OF_SPARK = {"pyspark", "py4j"}
OPTIONAL = {"deltalake", "openlineage-python", "pulsar-client"}
KUBERNETES = sorted((ROOT / "infra" / "kubernetes").glob("*.yaml"))


def imported(file: Path) -> set[str]:
    """The top-level packages that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def listed() -> set[str]:
    lines = (ROOT / "infra" / "cluster" / "requirements.txt").read_text(encoding="utf-8")
    return {
        normal(re.split(r"[\[;\s]", line)[0])
        for line in lines.splitlines()
        if line and not line.startswith("#")
    }


def test_the_archive_has_every_package_that_streams_import() -> None:
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    modules = set().union(*map(imported, files)) - set(PACKAGES) - sys.stdlib_module_names
    owners = packages_distributions()
    needed = {normal(owners[name][0]) for name in modules if name in owners} - OF_SPARK - OPTIONAL

    assert len(needed) > 10
    assert needed - {"psycopg-pool"} <= listed()  # which is the extra `pool` of psycopg


def test_streams_import_no_other_package() -> None:
    """The archive has a copy of these three only."""
    others = {folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").is_file()}
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    assert {"cli", "infra", "gateway"} <= others
    assert set().union(*map(imported, files)) & others <= set(PACKAGES)


def on_a_cluster(settings: Settings, **spark: Any) -> Settings:
    given = {"master": "spark://head:7077", "archive": "/opt/storelake.tar.gz", **spark}
    keys = {"access_key": SecretStr("who"), "secret_key": SecretStr("secret-of-the-key")}
    return settings.model_copy(
        update={
            "spark": settings.spark.model_copy(update=given),
            "streams": settings.streams.model_copy(update={"checkpoints": "s3://shop/points/"}),
            "s3": settings.s3.model_copy(update=keys),
            "postgres": settings.postgres.model_copy(
                update={"writer_password": SecretStr("sesame")}
            ),
        }
    )


def test_a_cluster_is_given_the_archive_and_a_driver_that_it_can_reach(settings: Settings) -> None:
    given = launch_conf(on_a_cluster(settings, driver_host="till.example"))
    assert given["spark.master"] == "spark://head:7077"
    assert given["spark.archives"] == "/opt/storelake.tar.gz#environment"
    assert given["spark.pyspark.python"] == "./environment/bin/python"
    assert given["spark.driver.host"] == "till.example"
    assert "127.0.0.1" not in given.values()
    assert "spark.driver.host" not in launch_conf(on_a_cluster(settings))


def test_on_one_machine_the_driver_listens_on_loopback(settings: Settings) -> None:
    given = launch_conf(settings)
    assert given["spark.driver.host"] == given["spark.driver.bindAddress"] == "127.0.0.1"
    assert "spark.archives" not in given


def test_checkpoints_are_on_the_disk_unless_a_place_is_named(settings: Settings) -> None:
    disk, cluster = settings, on_a_cluster(settings)
    assert disk.checkpoint("a+b") == f"file://{disk.var_dir}/checkpoints/a+b"
    assert cluster.checkpoint("a+b") == "s3a://shop/points/a+b"
    delta = cluster.catalog.model_copy(update={"format": "delta"})
    in_delta = cluster.model_copy(update={"catalog": delta})
    assert in_delta.checkpoint("a+b") == "s3a://shop/points/delta/a+b"


def test_checkpoints_on_the_disk_of_one_machine_are_written_without_other_programs(
    settings: Settings,
) -> None:
    manager = "spark.sql.streaming.checkpointFileManagerClass"
    spark = settings.spark.model_copy(update={"master": "yarn"})
    assert "FileSystemBased" in checkpoint_properties(settings)[manager]
    # Elsewhere the same folder may be one of HDFS, where Spark's default can rename.
    assert checkpoint_properties(settings.model_copy(update={"spark": spark})) == {}


def test_the_client_of_checkpoints_on_s3_comes_with_them(settings: Settings) -> None:
    assert "hadoop-aws" not in launch_conf(settings)["spark.jars.packages"]
    given = launch_conf(on_a_cluster(settings))
    packages = given["spark.jars.packages"].split(",")
    assert len(packages) == len(set(packages))
    assert any("hadoop-aws" in package for package in packages)
    # A client of AWS is one version, or its parts do not fit.
    versions = {p.rpartition(":")[2] for p in packages if p.startswith("software.amazon.awssdk:")}
    assert len(versions) == 1


def test_a_delta_lake_on_s3_is_read_by_the_same_client(settings: Settings) -> None:
    catalog = settings.catalog.model_copy(update={"format": "delta"})
    on_disk = settings.model_copy(update={"catalog": catalog})
    assert "hadoop-aws" not in launch_conf(on_disk)["spark.jars.packages"]
    catalog = catalog.model_copy(update={"warehouse": "s3://shop/lake"})
    on_s3 = settings.model_copy(update={"catalog": catalog})
    assert "hadoop-aws" in launch_conf(on_s3)["spark.jars.packages"]


def test_keys_go_with_the_session_and_into_no_file(settings: Settings) -> None:
    cluster = on_a_cluster(settings)
    session = session_conf(cluster)
    assert session["spark.hadoop.fs.s3a.secret.key"] == "secret-of-the-key"
    assert "Abortable" in session["spark.sql.streaming.checkpointFileManagerClass"]
    assert not {"secret-of-the-key", "sesame"} & set(launch_conf(cluster).values())
    disk = cluster.model_copy(update={"streams": settings.streams})
    assert not [key for key in session_conf(disk) if "s3a" in key]


def test_spark_connect_listens_on_loopback(settings: Settings) -> None:
    assert connect_conf(settings)["spark.connect.grpc.binding.address"] == "127.0.0.1"


def test_checkpoints_elsewhere_than_on_s3_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"streams\.checkpoints"):
        load_settings(streams={"checkpoints": "hdfs://head/points"})


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: str(file.name))
def test_a_file_for_kubernetes_is_one(file: Path) -> None:
    documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    assert documents
    assert all({"apiVersion", "kind", "metadata"} <= one.keys() for one in documents)


def test_only_the_driver_is_given_secrets_on_kubernetes() -> None:
    driver, executor = (
        yaml.safe_load((ROOT / "infra" / "kubernetes" / f"{name}.yaml").read_text("utf-8"))
        for name in ("driver", "executor")
    )
    (container,) = driver["spec"]["containers"]
    assert container["envFrom"][1] == {"secretRef": {"name": "storelake"}}
    assert "env" not in str(executor["spec"]["containers"])
