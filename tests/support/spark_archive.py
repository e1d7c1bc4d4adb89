"""An archive of the classes of Spark's JVM (AppCDS): a driver starts with half the CPU time.

A JVM that does not fit the archive (another Java, other jars) loads its classes as without it.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from conf.settings import Settings, SparkSettings, load_settings
from infra.errors import ServiceError
from infra.local.checks import find_java
from infra.local.locks import exclusive

QUIET = "-Xlog:cds=off -Xlog:cds+dynamic=off"


def driver_options(settings: Settings) -> str:
    """The options of a driver's JVM, with the archive where `make_archive` has made one."""
    options = SparkSettings().driver_java_options
    with suppress(ServiceError):  # there is no Java, which a unit test does not need
        archive = _archive_file(settings)
        if archive.exists():
            options += f" {QUIET} -XX:SharedArchiveFile={archive}"
    return options


def make_archive(settings: Settings) -> None:
    """Make the archive in the cache folder unless it is there; takes half a minute."""
    archive = _archive_file(settings)
    with exclusive(archive.with_suffix(".lock"), "the class archive of Spark", seconds=300):
        if not archive.exists():
            _make(archive)


def _archive_file(settings: Settings) -> Path:
    """Its name is a hash of the Java version, and of the path and the age of the jars."""
    package = find_spec("pyspark")  # not imported: most tests need no Spark
    assert package is not None
    assert package.origin is not None
    jars = Path(package.origin).resolve().parent / "jars"
    same = f"{find_java(settings.java_home).version} {jars} {jars.stat().st_mtime_ns}"
    return settings.cache_dir / f"spark-{sha256(same.encode()).hexdigest()[:16]}.jsa"


def _make(archive: Path) -> None:
    partial = archive.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.support.spark_training", str(partial)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    partial.replace(archive)


if __name__ == "__main__":
    make_archive(load_settings())
