"""Settings of Spark sessions (`streaming/runtime/session.py`)."""

from __future__ import annotations

from pydantic import Field

from conf.settings.base import Frozen, Port


class SparkSettings(Frozen):
    """Spark sessions: master, memory, packages."""

    master: str = "local[2]"
    """Master of the cluster."""
    driver_memory: str = "1g"
    """Heap of the driver."""
    driver_java_options: str = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
    """Serial GC; the C1 compiler only, because plans of small batches finish before C2 pays off."""
    ui: bool = False
    """Whether Spark's web UI runs, without a login: with a local master on loopback, otherwise on
    every address of the driver's machine."""
    shuffle_partitions: int = Field(default=1, ge=1)
    """Tasks of stateful steps. Each costs state files and an exchange with Python in every
    micro-batch. A checkpoint keeps its first value."""
    packages: tuple[str, ...] = (
        "org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.12.0",
        "org.postgresql:postgresql:42.7.8",
    )
    """Maven coordinates of the JARs for a lake in Iceberg."""
    delta_packages: tuple[str, ...] = ("io.delta:delta-spark_4.1_2.13:4.3.1",)
    """Replaces `packages` for a lake in Delta."""
    s3_packages: tuple[str, ...] = ("org.apache.iceberg:iceberg-aws-bundle:1.12.0",)
    """Added for a warehouse on S3."""
    hadoop_s3_packages: tuple[str, ...] = (
        "org.apache.iceberg:iceberg-aws-bundle:1.12.0",
        "org.apache.hadoop:hadoop-aws:3.4.2",
        "org.apache.spark:spark-hadoop-cloud_2.13:4.1.1",
        "software.amazon.awssdk:apache-client:2.54.17",
        "software.amazon.awssdk:s3-transfer-manager:2.54.17",
    )
    """Added for checkpoints, or a lake in Delta, on S3: Hadoop's S3 client. It uses the AWS client
    in Iceberg's bundle; the last two add what the bundle lacks, in the same version."""
    driver_host: str | None = None
    """Address of the driver for executors of a master that is not local; by default the host name
    of the machine."""
    archive: str | None = None
    """Path or address of the archive that `make dist` builds, for the executors of a master that is
    not local."""
    connect_host: str = "127.0.0.1"
    """Listening address of `streaming/connect.py`."""
    connect_port: Port = 15002
    """Listening port of `streaming/connect.py`."""
    extra: dict[str, str] = Field(default_factory=dict)
    """Additional Spark configuration, by its names."""
