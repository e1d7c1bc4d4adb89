"""Launches Spark's JVM, with jars named directly once Ivy has resolved them.

A file beside Ivy's folder of jars keeps each list under a hash of the packages and exclusions. A
list with a jar that is missing does not count, and Ivy resolves again.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError

PACKAGES, EXCLUDES, IVY = "spark.jars.packages", "spark.jars.excludes", "spark.jars.ivy"


def begin_launch(conf: Mapping[str, str]) -> None:
    """Launch the JVM in another thread, where its jars are known: Ivy could fail, and that slowly.

    The session waits for it, and launches it again where it failed, to report the reason.

    Args:
        conf: `session.launch_conf`.
    """
    known = with_known_jars(conf)

    def launch() -> None:
        with suppress(PySparkRuntimeError):
            launch_jvm(known)

    if PACKAGES not in known:
        threading.Thread(target=launch, name="launch", daemon=True).start()


def launch_jvm(conf: Mapping[str, str]) -> None:
    """Launch the JVM with these properties, if this process has none.

    By itself PySpark puts all properties on the JVM's command line, passwords included. Spark's UI
    listens on the address in the variable SPARK_LOCAL_IP, by default on all: that of a local master
    on the driver's.
    """
    if address := conf.get("spark.driver.bindAddress"):
        os.environ["SPARK_LOCAL_IP"] = address  # noqa: TID251 - for the JVM alone
    SparkContext._ensure_initialized(conf=SparkConf(False).setAll(list(conf.items())))


def with_known_jars(conf: Mapping[str, str]) -> dict[str, str]:
    """Launch properties that name jars in place of packages, where the jars are known."""
    jars = _read(_list_file(conf))
    if not jars:
        return dict(conf)
    rest = {key: value for key, value in conf.items() if key not in (PACKAGES, EXCLUDES)}
    return rest | {"spark.jars": ",".join(jars)}


def keep_jars(conf: Mapping[str, str], jars: str) -> None:
    """Keep what Ivy has resolved: paths or file URLs, separated by commas.

    A folder that cannot be written only costs the next start its resolution.
    """
    paths = [urlsplit(one).path for one in jars.split(",") if one]
    file = _list_file(conf)
    scratch = file.with_suffix(".partial")
    with suppress(OSError):
        scratch.write_text(json.dumps(paths), encoding="utf-8")
        scratch.replace(file)


def _list_file(conf: Mapping[str, str]) -> Path:
    wanted = f"{conf[PACKAGES]} {conf[EXCLUDES]}"
    return Path(conf[IVY]) / f"jars-{sha256(wanted.encode()).hexdigest()[:16]}.json"


def _read(file: Path) -> Sequence[str]:
    with suppress(OSError, ValueError):
        jars: list[str] = json.loads(file.read_text(encoding="utf-8"))
        if all(Path(jar).is_file() for jar in jars):
            return jars
    return ()
