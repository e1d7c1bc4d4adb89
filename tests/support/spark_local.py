"""A small local Spark for tests: no catalog, no jars, so that it starts in seconds."""

from __future__ import annotations

import sys

from pyspark import SparkContext
from pyspark.sql import SparkSession

from conf.settings import load_settings
from streaming.sources.kafka import KafkaSource
from streaming.sources.memory import MemorySource
from streaming.sources.pulsar import PulsarSource
from tests.support.spark_archive import driver_options

LAUNCH = {
    "spark.master": "local[2]",
    "spark.driver.memory": "1g",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.extraJavaOptions": driver_options(load_settings()),
}
SQL = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}


def start_spark() -> SparkSession:
    """The session of this process, made if there is none, with our sources."""
    builder = SparkSession.builder.appName("storelake-tests")
    for key, value in LAUNCH.items():
        builder = builder.config(key, value)
    spark: SparkSession = builder.getOrCreate()
    for key, value in SQL.items():
        spark.conf.set(key, value)
    spark.sparkContext.setLogLevel("OFF")
    spark.sparkContext.pythonExec = sys.executable
    spark.dataSource.register(KafkaSource)
    spark.dataSource.register(MemorySource)
    spark.dataSource.register(PulsarSource)
    return spark


def end_spark(seconds: float = 30) -> None:
    """Stop the session and its JVM, so that the next one may be launched with other options."""
    active = SparkSession.getActiveSession()
    if active is not None:
        active.stop()
    gateway = SparkContext._gateway
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()  # the JVM ends when its standard input does
        gateway.proc.wait(seconds)
        SparkContext._gateway = SparkContext._jvm = None
