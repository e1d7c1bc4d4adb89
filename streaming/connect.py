"""Spark Connect server: clients without a JVM query the lake (`sc://HOST:PORT`).

`spark-submit streaming/connect.py` starts an application with the catalog and its credentials.
Any client that reaches the port may run any query: it listens on loopback by default, and requires
SPARK_CONNECT_AUTHENTICATE_TOKEN where that is set on both sides.
"""

from __future__ import annotations

import logging
import signal
from threading import Event

from conf.errors import StorelakeError
from conf.logs import configure_logging
from conf.settings import Settings, load_settings
from streaming.runtime.session import build_session

log = logging.getLogger("storelake.connect")


def connect_conf(settings: Settings) -> dict[str, str]:
    """Configuration that makes an application serve Spark Connect."""
    return {
        "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
        "spark.connect.grpc.binding.address": settings.spark.connect_host,
        "spark.connect.grpc.binding.port": str(settings.spark.connect_port),
    }


def serve(settings: Settings) -> None:
    """Answer until SIGTERM or SIGINT.

    Raises:
        SettingsError: the database password is missing, or a key of the S3.
    """
    extra = connect_conf(settings) | settings.spark.extra
    spark_settings = settings.spark.model_copy(update={"extra": extra})
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    spark = build_session(
        settings.model_copy(update={"spark": spark_settings}), "storelake:connect"
    )
    log.info("answering at sc://%s:%d", settings.spark.connect_host, settings.spark.connect_port)
    stop.wait()
    spark.stop()


if __name__ == "__main__":
    try:
        own = load_settings()
        configure_logging("connect", own.log_level)
        logging.getLogger("py4j").setLevel(logging.WARNING)
        serve(own)
    except StorelakeError as error:
        log.error("%s", error)
        raise SystemExit(1) from error
