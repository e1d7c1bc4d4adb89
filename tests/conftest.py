"""Fixtures of every suite: settings of their own, and real services where a test requests them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import hypothesis
import pytest

from conf.settings import Settings, SparkSettings, load_settings
from infra import local
from tests.support.spark_archive import driver_options

# Where the environment has CI, Hypothesis takes this profile by itself. A test bounds its examples
# only where one example is a whole batch.
hypothesis.settings.register_profile(
    "ci", parent=hypothesis.settings.get_profile("ci"), max_examples=30
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--warehouse",
        choices=("disk", "s3"),
        default="disk",
        help="where the lake of the tests is; s3: on a MinIO that they start",
    )
    parser.addoption(
        "--lake-format",
        choices=("iceberg", "delta"),
        default="iceberg",
        help="of the tables of the streams that are tested",
    )
    parser.addoption(
        "--record",
        choices=("tables", "day"),
        help="keep what the test of the recorded day computes: its tables, or new messages, too",
    )
    parser.addoption(
        "--screenshots", metavar="FOLDER", help="where the test of the console leaves its pictures"
    )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all open at once while choosing so that they differ.

    A process of several (pytest-xdist) leaves the others their share: until a server listens
    there, nothing else keeps two of them from choosing the same one.
    """
    share = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    shares = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    chosen: list[int] = []
    with ExitStack() as probes:
        while len(chosen) < count:
            probe = probes.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = probe.getsockname()[1]
            # Linux gives out odd ports first where it can: pairs of them are shared.
            if port // 2 % shares == share:
                chosen.append(port)
    return chosen


@pytest.fixture(scope="session")
def environment(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, str]:
    """The environment of a storelake beside the developer's own: for programs that a test starts.

    The folder for downloads is shared, so that jars are fetched once.
    """
    kafka, controller, pulsar, admin, postgres, gateway, s3, console = map(str, free_ports(8))
    spark = SparkSettings()
    on_s3 = pytestconfig.getoption("--warehouse") == "s3"
    of_s3 = spark.hadoop_s3_packages if on_s3 else ()
    # The JVM of a test run is one for tests of both formats.
    packages = json.dumps([*spark.packages, *spark.delta_packages, *of_s3])
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("STORELAKE_") or key == "STORELAKE_CACHE_DIR"
    }
    return {
        **kept,
        **({"STORELAKE_CATALOG__WAREHOUSE": "s3://tests/lake"} if on_s3 else {}),
        "STORELAKE_CATALOG__FORMAT": pytestconfig.getoption("--lake-format"),
        "STORELAKE_SPARK__PACKAGES": packages,
        "STORELAKE_SPARK__DELTA_PACKAGES": packages,
        "STORELAKE_SPARK__DRIVER_JAVA_OPTIONS": driver_options(load_settings()),
        "STORELAKE_PROFILE": "test",
        "STORELAKE_VAR_DIR": str(tmp_path_factory.mktemp("var")),
        "STORELAKE_KAFKA__PORT": kafka,
        "STORELAKE_KAFKA__CONTROLLER_PORT": controller,
        "STORELAKE_PULSAR__PORT": pulsar,
        "STORELAKE_PULSAR__ADMIN_PORT": admin,
        "STORELAKE_POSTGRES__PORT": postgres,
        "STORELAKE_GATEWAY__PORT": gateway,
        "STORELAKE_S3__PORT": s3,
        "STORELAKE_CONSOLE__PORT": console,
    }


@pytest.fixture(scope="session")
def settings(environment: Mapping[str, str]) -> Settings:
    """Settings with the profile `test`, free ports and an empty folder for state."""
    return settings_from(environment)


def own_ports() -> dict[str, str]:
    """Variables with a free port for every server and program of a deployment."""
    names = ["KAFKA__PORT", "KAFKA__CONTROLLER_PORT", "POSTGRES__PORT", "GATEWAY__PORT"]
    names += ["CONSOLE__PORT", "STREAMS__METRICS_PORT", "QUALITY__METRICS_PORT"]
    names += ["MAINTENANCE__METRICS_PORT", "INFERENCE__METRICS_PORT"]
    ports = map(str, free_ports(len(names)))
    return {f"STORELAKE_{name}": port for name, port in zip(names, ports, strict=True)}


def settings_from(environment: Mapping[str, str]) -> Settings:
    """What a program reads that is started with these variables and no others."""
    with pytest.MonkeyPatch.context() as patch:
        for key in os.environ.keys() - environment.keys():
            patch.delenv(key)
        for key, value in environment.items():
            patch.setenv(key, value)
        return load_settings()


@pytest.fixture(scope="session")
def services(settings: Settings) -> Iterator[Settings]:
    """Real Kafka and Postgres with topics and tables, for the whole run.

    Yields:
        The settings with the password of the database.
    """
    try:
        with local.running(settings) as ready:
            yield ready
    finally:
        # As root, the data of Postgres may lie outside of the folder that pytest cleans up.
        local.reset(settings)
