"""The one place that builds a Spark session."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from conf.settings import Settings, SettingsError
from conf.storage import file_properties, rest_properties
from streaming.connectors.kafka import KafkaSource
from streaming.connectors.log_source import LogSource
from streaming.connectors.memory import MemorySource

OF_SPARK = (
    *("org.apache.hadoop:hadoop-client-api", "org.apache.hadoop:hadoop-client-runtime"),
    *("org.apache.hadoop:hadoop-common", "io.unitycatalog:unitycatalog-hadoop"),
    *("com.fasterxml.jackson.core:*", "com.fasterxml.jackson.datatype:*", "org.apache.parquet:*"),
    *("org.apache.logging.log4j:*", "org.slf4j:*", "com.github.luben:*", "org.xerial.snappy:*"),
    *("org.roaringbitmap:*", "commons-pool:*", "io.airlift:*"),
)
"""Jars that Delta's ask for: Spark has them, in versions of its own, or nobody here calls them."""

ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"


def launch_conf(settings: Settings) -> dict[str, str]:
    """What must be known before the JVM starts: `spark-submit --properties-file` takes it, too."""
    return {
        "spark.master": settings.spark.master,
        "spark.driver.memory": settings.spark.driver_memory,
        "spark.jars.ivy": str(settings.cache_dir / "ivy"),
        "spark.jars.packages": ",".join(_packages(settings)),
        "spark.jars.excludes": ",".join(OF_SPARK),
        "spark.driver.extraJavaOptions": settings.spark.driver_java_options,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.scheduler.mode": "FAIR",
        "spark.locality.wait": "0",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.python.worker.reuse": "true",
        "spark.python.daemon.module": "streaming.worker_daemon",
    }


def _packages(settings: Settings) -> tuple[str, ...]:
    if settings.catalog.format == "delta":
        return settings.spark.delta_packages
    # Whether its files are on S3 is for a REST catalog to say.
    may_be_s3 = settings.bucket is not None or settings.catalog.type == "rest"
    return settings.spark.packages + (settings.spark.s3_packages if may_be_s3 else ())


def _catalog_conf(settings: Settings) -> dict[str, str]:
    """Which catalog, as Iceberg's Spark catalog takes it."""
    conf, postgres = settings.catalog, settings.postgres
    if conf.type == "jdbc":
        return {
            "type": "jdbc",
            "uri": postgres.jdbc_url,
            "jdbc.user": postgres.user,
            "jdbc.password": postgres.secret,
            "jdbc.schema-version": "V1",
            "clients": "1",
            "warehouse": settings.warehouse,
        }
    return {"type": "rest", **rest_properties(settings)}


def _format_conf(settings: Settings) -> dict[str, str]:
    """How Spark finds the tables of the lake: by catalog in Iceberg, by folder in Delta."""
    if settings.catalog.format == "delta":
        return {
            "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
            "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        }
    catalog = f"spark.sql.catalog.{settings.catalog.name}"
    return {
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        **{f"{catalog}.{key}": value for key, value in _catalog_conf(settings).items()},
        **{f"{catalog}.{key}": value for key, value in file_properties(settings).items()},
        # A stream must see what another one has just committed.
        f"{catalog}.cache-enabled": "false",
    }


def session_conf(settings: Settings) -> dict[str, str]:
    """SQL settings: time zone, the table format, and low fixed costs a micro-batch."""
    return {
        "spark.sql.session.timeZone": "UTC",
        **_format_conf(settings),
        # A cast of bad data gives null, its rule fails, the row is quarantined (docs/adr/0005).
        "spark.sql.ansi.enabled": "false",
        "spark.sql.shuffle.partitions": str(settings.spark.shuffle_partitions),
        # Re-planning between the stages of a micro-batch costs more than it saves.
        "spark.sql.adaptive.enabled": "false",
        # foreachBatch asks for the constraints of the whole plan, a third of the planning time; and
        # each execution for its plan as text, which nobody reads while there is no UI.
        "spark.sql.constraintPropagation.enabled": "false",
        "spark.sql.ui.explainMode": "simple",
        "spark.sql.codegen.cache.maxEntries": "1000",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.streaming.stateStore.providerClass": ROCKSDB,
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        "spark.sql.streaming.minBatchesToRetain": "20",
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        **settings.spark.extra,
    }


def build_session(settings: Settings, app_name: str) -> SparkSession:
    """Start (or join) Spark with the catalog and our sources registered.

    Raises:
        SettingsError: the database password is missing, or Pulsar's client.
    """
    builder = SparkSession.builder.appName(app_name)
    for key, value in (launch_conf(settings) | session_conf(settings)).items():
        builder = builder.config(key, value)
    spark: SparkSession = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    if settings.spark.master.startswith("local"):
        spark.sparkContext.pythonExec = str(_worker_python(settings))
    for broker in {"kafka", "memory", *settings.streams.detections_from}:
        spark.dataSource.register(log_source(broker))
    return spark


def log_source(broker: str) -> type[LogSource]:
    """What `format("storelake_<broker>")` is.

    Raises:
        SettingsError: Pulsar's client is not there; it is an extra, since nobody else needs it.
    """
    if broker != "pulsar":
        return {"kafka": KafkaSource, "memory": MemorySource}[broker]
    try:
        from streaming.connectors.pulsar import PulsarSource  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            "streams.detections_from names pulsar: install storelake[pulsar], or take it out"
        ) from error
    return PulsarSource


def _worker_python(settings: Settings) -> Path:
    """A launcher for Python workers that skips Spark's zipped copies of pyspark and py4j.

    Spark puts them first on PYTHONPATH; Python keeps no byte code for a zip, so every worker would
    compile pyspark anew (4 s of CPU). The installed packages are the same code.
    """
    path = settings.var_dir / "run" / "python-worker"
    path.parent.mkdir(parents=True, exist_ok=True)
    script = f"""#!/bin/sh
without_zips=$(printf %s "$PYTHONPATH" | tr : '\\n' | grep -v 'python/lib/[^/]*[.]zip$')
PYTHONPATH=$(printf %s "$without_zips" | tr '\\n' :)
export PYTHONPATH
exec {shlex.quote(sys.executable)} "$@"
"""
    if not path.exists() or path.read_text(encoding="utf-8") != script:
        path.write_text(script, encoding="utf-8")
        path.chmod(0o755)
    return path
