"""The JVM of a Spark session: the one place that reads PySpark's private attributes for it.

For Hadoop's file systems, Iceberg's view builder and the log levels, which PySpark does not offer
from Python. tests/unit/test_private_parts.py fails when an upgrade changes them.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import SparkSession


def java(spark: SparkSession) -> Any:
    """The root of Java's packages, such as `java(spark).org.apache.hadoop`."""
    return spark._jvm


def hadoop_configuration(spark: SparkSession) -> Any:
    """Java's `Configuration` of the session, with its file systems and their keys."""
    return spark._jsc.hadoopConfiguration()
