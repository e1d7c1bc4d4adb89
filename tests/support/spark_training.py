"""Start a Spark driver that writes the classes it has loaded to an archive (`spark_archive`)."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr
from pyspark.sql import DataFrame, SparkSession

from conf.settings import SparkSettings, load_settings
from streaming.runtime.session import build_session
from streaming.sources.memory import MemoryBroker
from tests.support.spark_archive import QUIET
from tests.support.spark_local import end_spark


def write_archive(archive: Path) -> None:
    """Run a batch and a stream in a new JVM and stop it; it writes the archive at its end."""
    options = f"{SparkSettings().driver_java_options} {QUIET} -XX:ArchiveClassesAtExit={archive}"
    with TemporaryDirectory() as folder:
        settings = load_settings(var_dir=Path(folder), spark={"driver_java_options": options})
        database = settings.postgres.model_copy(update={"writer_password": SecretStr("not used")})
        spark = build_session(settings.model_copy(update={"postgres": database}), "class-archive")
        _run_batch(spark)
        _run_stream(spark, Path(folder))
        end_spark(seconds=200)


def _run_batch(spark: SparkSession) -> None:
    numbers = spark.range(10, numPartitions=1).mapInArrow(lambda batches: batches, "id long")
    assert numbers.groupBy("id").count().toArrow().num_rows == 10


def _run_stream(spark: SparkSession, folder: Path) -> None:
    broker = MemoryBroker(folder / "broker")
    broker.create_topic("orders", 1)
    broker.produce("orders", b"{}", b"key", timestamp=datetime.now(timezone.utc))
    reader = spark.readStream.format("storelake_memory")
    rows = reader.options(path=str(broker.path), subscribe="orders").load()
    writer = rows.groupBy("key").count().writeStream.outputMode("update")
    writer = writer.option("checkpointLocation", str(folder / "checkpoint"))
    query = writer.foreachBatch(_collect).trigger(availableNow=True).start()
    assert query.awaitTermination(60)


def _collect(rows: DataFrame, _: int) -> None:
    rows.toArrow()


if __name__ == "__main__":
    write_archive(Path(sys.argv[1]))
