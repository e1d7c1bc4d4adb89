"""The Spark of tests that need no deployment: the product's session, and the end of its JVM."""

from __future__ import annotations

from pydantic import SecretStr
from pyspark import SparkContext
from pyspark.sql import SparkSession

from conf.settings import Settings
from streaming.session import build_session
from streaming.sources.pulsar import PulsarSource


def start_spark(settings: Settings) -> SparkSession:
    """The product's session with every source; its catalog needs Postgres and is not to be used."""
    database = settings.postgres.model_copy(update={"password": SecretStr("not used")})
    own = settings.model_copy(update={"postgres": database})
    spark = build_session(own, "storelake-tests")
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
