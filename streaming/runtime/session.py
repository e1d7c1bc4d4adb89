"""The one place that builds a Spark session."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from pathlib import Path

from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from conf.errors import StorelakeError
from conf.logs import writes_text
from conf.settings import Settings, SettingsError, SparkSettings, is_submitted
from conf.storage import checkpoint_properties, file_properties, rest_properties
from streaming.runtime.jvm import java
from streaming.runtime.launch import PACKAGES, keep_jars, launch_jvm, with_known_jars
from streaming.sources.kafka import KafkaSource
from streaming.sources.memory import MemorySource
from streaming.sources.readers import LogSource

OF_SPARK = (
    *("org.apache.hadoop:hadoop-client-api", "org.apache.hadoop:hadoop-client-runtime"),
    *("org.apache.hadoop:hadoop-common", "io.unitycatalog:unitycatalog-hadoop"),
    *("com.fasterxml.jackson.core:*", "com.fasterxml.jackson.datatype:*", "org.apache.parquet:*"),
    *("org.apache.logging.log4j:*", "org.slf4j:*", "com.github.luben:*", "org.xerial.snappy:*"),
    *("org.roaringbitmap:*", "commons-pool:*", "io.airlift:*"),
)
"""Dependencies of Delta's jars that Spark has in its own versions, or that nothing here calls."""

OF_THE_CLOUD = (
    *("org.apache.hadoop:hadoop-cloud-storage", "org.apache.hadoop:hadoop-azure"),
    *("org.apache.hadoop:hadoop-huaweicloud", "com.huaweicloud:*", "com.google.cloud.bigdataoss:*"),
    *("com.squareup.okhttp3:*", "com.squareup.okio:*"),
    *("org.eclipse.jetty:*", "joda-time:*", "commons-codec:*", "org.apache.httpcomponents:*"),
    *("org.wildfly.openssl:*", "software.amazon.s3.analyticsaccelerator:*"),
    *(
        f"software.amazon.awssdk:{module}"
        for module in (
            *("annotations", "auth", "aws-core", "bundle", "http-client-spi", "json-utils"),
            *("metrics-spi", "protocol-core", "regions", "s3", "sdk-core", "utils"),
        )
    ),
)
"""The same for Hadoop's S3 client: other clouds, and what Iceberg's bundle contains (Hadoop's own
jar of the AWS client has six hundred megabytes)."""

LOGGING = Path(__file__).with_name("log4j2.properties").absolute()
ENVIRONMENT = "environment"
"""Folder, below that of each process, into which the archive of `make dist` is unpacked."""

ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"


class SparkError(StorelakeError):
    """Spark did not start; the message states what it needs."""


def launch_conf(settings: Settings) -> dict[str, str]:
    """Properties that the JVM needs at its start, also for `spark-submit --properties-file`."""
    return {
        "spark.master": settings.spark.master,
        "spark.driver.memory": settings.spark.driver_memory,
        "spark.jars.ivy": str(settings.cache_dir / "ivy"),
        "spark.jars.packages": ",".join(_packages(settings)),
        "spark.jars.excludes": ",".join(OF_SPARK + OF_THE_CLOUD),
        "spark.driver.extraJavaOptions": f"{_log_options()} {settings.spark.driver_java_options}",
        **_placement(settings.spark),
        "spark.scheduler.mode": "FAIR",
        "spark.locality.wait": "0",
        "spark.ui.enabled": str(settings.spark.ui).lower(),
        # Spark's default, `credential` of a REST catalog, and the options of sources, which are in
        # plans as text: any of librdkafka may be a key. In pages, event logs and dumps.
        "spark.redaction.regex": ("(?i)secret|password|token|credential|access[.-]?key|^kafka[.]"),
        "spark.ui.showConsoleProgress": "false",
        "spark.python.worker.reuse": "true",
        "spark.python.daemon.module": "streaming.runtime.worker_daemon",
    }


def _log_options() -> str:
    """Options of the JVM that make it log as our processes do."""
    layout = "text" if writes_text() else "json"
    return f"-Dstorelake.log={layout} -Dlog4j2.configurationFile={LOGGING.as_uri()}"


def _placement(spark: SparkSettings) -> dict[str, str]:
    """Address of the driver, and the archive for other machines."""
    if spark.master.startswith("local"):
        return {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    host = {"spark.driver.host": spark.driver_host} if spark.driver_host else {}
    if spark.archive is None:
        return host
    # The driver uses the same Python: it plans with the same files (docs/DEPLOY.md).
    code = {
        "spark.archives": f"{spark.archive}#{ENVIRONMENT}",
        "spark.pyspark.python": f"./{ENVIRONMENT}/bin/python",
    }
    return host | code


def _packages(settings: Settings) -> list[str]:
    spark, delta = settings.spark, settings.catalog.format == "delta"
    # A REST catalog decides whether its files are on S3.
    may_be_s3 = settings.bucket is not None or settings.catalog.type == "rest"
    by_hadoop = settings.streams.checkpoints or (delta and settings.bucket)
    wanted = (
        *(spark.delta_packages if delta else spark.packages),
        *(spark.s3_packages if may_be_s3 and not delta else ()),
        *(spark.hadoop_s3_packages if by_hadoop else ()),
    )
    return list(dict.fromkeys(wanted))


def _catalog_conf(settings: Settings) -> dict[str, str]:
    """Properties of Iceberg's Spark catalog."""
    conf, postgres = settings.catalog, settings.postgres
    if conf.type == "jdbc":
        return {
            "type": "jdbc",
            "uri": postgres.jdbc_url,
            "jdbc.user": postgres.login,
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
        # foreachBatch requests the constraints of the whole plan, a third of the planning time, and
        # each execution its plan as text, which is only for the UI.
        "spark.sql.constraintPropagation.enabled": "false",
        "spark.sql.ui.explainMode": "simple",
        "spark.sql.codegen.cache.maxEntries": "1000",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # A task parses some messages while it reads the next (`source.packed`).
        "spark.sql.execution.arrow.maxBytesPerBatch": "1m",
        # Workers with another environment have a parent of their own; those of stateful steps
        # never have this variable.
        "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "false",
        "spark.sql.streaming.stateStore.providerClass": ROCKSDB,
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        "spark.sql.streaming.minBatchesToRetain": "20",
        "spark.sql.streaming.noDataMicroBatches.enabled": "false",
        # A query that has not ended by then is killed with the JVM (`runner.STOP_SECONDS`).
        "spark.sql.streaming.stopTimeout": "10s",
        **checkpoint_properties(settings),
        **settings.spark.extra,
    }


def build_session(settings: Settings, app_name: str) -> SparkSession:
    """Start (or join) Spark with the catalog and our sources registered.

    `spark-submit` has started a JVM already, with `launch_conf` and the operator's own options:
    these are not set again.

    Raises:
        SettingsError: the database password is missing, or Pulsar's client.
        SparkError: its Java did not start, or did not get the jars.
    """
    builder = SparkSession.builder.appName(app_name)
    wanted = launch_conf(settings)
    launch = {} if is_submitted() else with_known_jars(wanted)
    for key, value in (launch | session_conf(settings)).items():
        builder = builder.config(key, value)
    try:
        if launch:
            launch_jvm(launch)
        spark: SparkSession = builder.getOrCreate()
    except PySparkRuntimeError as error:
        raise SparkError(
            "Spark did not start; its reason is above. It needs Java 17 or newer (on the PATH, or "
            "set JAVA_HOME), and the first time a network, to fetch its jars into "
            f"{settings.cache_dir / 'ivy'}."
        ) from error
    if PACKAGES in launch:
        keep_jars(wanted, java(spark).java.lang.System.getProperty("spark.jars") or "")
    _search_no_installed_sources(spark)
    # An archive has no pyspark of its own.
    if str(spark.sparkContext.master).startswith("local") and settings.spark.archive is None:
        spark.sparkContext.pythonExec = sys.executable
    for broker in {"kafka", "memory", *settings.streams.detections_from}:
        spark.dataSource.register(log_source(broker))
    return spark


def begin_workers(spark: SparkSession) -> None:
    """Fork the Python workers in another thread: then the first rows do not wait for imports."""

    def fork() -> None:
        with suppress(Exception):  # the session ends meanwhile; else the first rows fork them
            spark.range(2, numPartitions=2).mapInArrow(lambda rows: rows, "id long").toArrow()

    threading.Thread(target=fork, name="workers", daemon=True).start()


def _search_no_installed_sources(spark: SparkSession) -> None:
    """Spark would start a Python of the PATH to find sources that are installed there."""
    jvm = java(spark).org.apache.spark
    none = java(spark).scala.Some(jvm.api.python.PythonUtils.toScalaMap({}))
    manager = getattr(jvm.sql.execution.datasources, "DataSourceManager$")
    getattr(getattr(manager, "MODULE$"), "dataSourceBuilders_$eq")(none)


def log_source(broker: str) -> type[LogSource]:
    """The data source of `format("storelake_<broker>")`.

    Raises:
        SettingsError: Pulsar's client, an extra, is not installed.
    """
    if broker != "pulsar":
        return {"kafka": KafkaSource, "memory": MemorySource}[broker]
    try:
        from streaming.sources.pulsar import PulsarSource  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            "streams.detections_from names pulsar: install storelake[pulsar], or take it out"
        ) from error
    return PulsarSource
