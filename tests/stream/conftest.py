"""Streams over the memory log, with a real database and a real lake."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from unittest.mock import patch

import pytest
from pyspark.sql import SparkSession

from conf.settings import Settings
from streaming.runtime.session import build_session
from tests.stream.sandbox import Sandbox, empty_tables

_numbers = count(1)


@pytest.fixture(scope="module", autouse=True)
def _one_spark() -> Iterator[None]:
    """The runs of a file share a Spark application, whose Python workers take seconds to start.

    `tests/e2e` tests the end of an application, with real processes.
    """
    stop = SparkSession.stop
    with patch.object(SparkSession, "stop"):
        yield
    if (spark := SparkSession.getActiveSession()) is not None:
        stop(spark)


@pytest.fixture(scope="session")
def new_sandbox(
    services: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Sandbox]:
    """Makes a sandbox with a folder, a catalog and empty tables of its own.

    Its lake has the given format, else that of the run (`--lake-format`).
    """

    def make(table_format: str | None = None) -> Sandbox:
        empty_tables(services)
        number = next(_numbers)
        catalog = {
            "name": f"sandbox{number}",
            "format": table_format or services.catalog.format,
        }
        streams = {"source": "memory", "trigger_seconds": 0.1, "heartbeat_seconds": 0.0}
        if services.bucket:
            catalog["warehouse"] = f"s3://{services.bucket}/sandbox{number}"
        return Sandbox(
            services.model_copy(
                update={
                    "var_dir": tmp_path_factory.mktemp(f"sandbox{number}"),
                    "catalog": services.catalog.model_copy(update=catalog),
                    "streams": services.streams.model_copy(update=streams),
                }
            )
        )

    return make


@pytest.fixture(scope="module")
def sandbox(new_sandbox: Callable[[], Sandbox]) -> Sandbox:
    """The sandbox of a test file."""
    return new_sandbox()


@pytest.fixture(scope="module")
def spark(sandbox: Sandbox) -> SparkSession:
    """The session of the product, for tests without a runner."""
    return build_session(sandbox.settings, "storelake-tests")
