"""The Spark session of the streams: no secrets on the command line, and cheap Python workers."""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from streaming.runtime.session import session_conf
from tests.stream.sandbox import Sandbox


def test_a_worker_opens_no_jar_and_takes_no_import_for_garbage(spark: SparkSession) -> None:
    def look_around(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The jars on the path of a worker, and how many of them it has opened."""
        for _ in batches:
            # By now every entry of the path has been asked for something that is not there.
            assert importlib.util.find_spec("no_such_module") is None
            jars = [entry for entry in sys.path if entry.endswith(".jar")]
            opened = [jar for jar in jars if sys.path_importer_cache.get(jar) is not None]
            row = {"jars": len(jars), "opened": len(opened), "frozen": gc.get_freeze_count()}
            yield pa.RecordBatch.from_pylist([row])

    asked = spark.range(1, numPartitions=1).mapInArrow(
        look_around, "jars long, opened long, frozen long"
    )
    (seen,) = asked.collect()

    assert seen.jars > 0  # else Spark leaves them out by itself, and there is nothing to do
    assert seen.opened == 0
    assert seen.frozen > 100_000


@pytest.mark.requirement("S1")
def test_no_password_is_on_the_command_line_of_the_jvm(
    sandbox: Sandbox, spark: SparkSession
) -> None:
    secret = sandbox.settings.postgres.secret
    name = f"spark.sql.catalog.{sandbox.settings.catalog.name}.jdbc.password"
    given = session_conf(sandbox.settings).get(name)
    assert spark.sparkContext.applicationId  # it runs
    lines = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # one that has ended meanwhile
            lines.append(" ".join(process.cmdline()))

    assert given in (secret, None)  # Delta has no catalog that needs one
    assert any("org.apache.spark.deploy.SparkSubmit" in line for line in lines)
    assert not any(secret in line for line in lines)
