"""Kafka's jars, fetched once by the Ivy that pyspark ships; Maven is not needed."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from threading import Event

from infra.errors import ServiceError
from infra.local.checks import require_disk
from infra.local.locks import exclusive
from infra.local.service import Report
from infra.local.tool import run_tool

KAFKA_VERSION = "4.3.1"
# `default` is run time plus the module's own jar, which `runtime` alone leaves out. Kafka's POM
# has no logging back end, and without one a broker that fails at start says nothing.
IVY_MODULE = f"""\
<ivy-module version="2.0">
  <info organisation="storelake" module="kafka-broker"/>
  <configurations><conf name="default"/></configurations>
  <dependencies>
    <dependency org="org.apache.kafka" name="kafka_2.13" rev="{KAFKA_VERSION}"
                conf="default->default"/>
    <dependency org="org.apache.logging.log4j" name="log4j-slf4j-impl" rev="2.25.4"
                conf="default->default"/>
  </dependencies>
</ivy-module>
"""
PATTERN = "[artifact]-[revision](-[classifier]).[ext]"


def jars_folder(cache_dir: Path) -> Path:
    """Where the jars are, once they are all there."""
    return cache_dir / f"kafka-{KAFKA_VERSION}"


def kafka_jars(cache_dir: Path, java: str, cancel: Event, report: Report) -> Path:
    """The folder with Kafka's jars, downloading them (44 MB) the first time.

    A folder under the final name is always complete: the jars are collected elsewhere and moved
    there in one step.

    Args:
        cache_dir: `settings.cache_dir`.
        java: the Java that runs Ivy.
        cancel: stops the download when set.
        report: told about the progress.

    Raises:
        ServiceError: the download failed, or there is no room for it.
    """
    target = jars_folder(cache_dir)
    if target.is_dir():
        return target
    require_disk(cache_dir)
    with exclusive(cache_dir / "kafka.lock", "fetching Kafka", seconds=900, cancel=cancel):
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=cache_dir, prefix="kafka-partial-") as scratch:
                _fetch(Path(scratch), cache_dir / "ivy", java, cancel, report)
                (Path(scratch) / "jars").rename(target)
    return target


def _fetch(scratch: Path, ivy_home: Path, java: str, cancel: Event, report: Report) -> None:
    module = scratch / "ivy.xml"
    module.write_text(IVY_MODULE)
    jars = scratch / "jars"
    progress = _Progress(report)
    # A cache of its own: what other tools left half done in the user's one stays out.
    command = [java, f"-Divy.default.ivy.user.dir={ivy_home}", "-jar", str(_ivy_jar())]
    command += ["-ivy", str(module), "-cache", str(ivy_home / "cache"), "-confs", "default"]
    command += ["-retrieve", f"{jars}/{PATTERN}"]
    report("kafka: fetching its jars (44 MB, once)")
    try:
        run_tool(command, "Fetching Kafka's jars", cancel, on_line=progress)
    except ServiceError as error:
        if not cancel.is_set():
            # A cache that noted a failure repeats it, so the next try starts from nothing.
            shutil.rmtree(ivy_home / "cache", ignore_errors=True)
        raise ServiceError(f"{error} Check the network, then run `storelake up` again.") from error
    if not (jars / f"kafka_2.13-{KAFKA_VERSION}.jar").is_file():
        raise ServiceError("Kafka's jars came without the broker: run `storelake up` again.")


class _Progress:
    """Counts what Ivy says it found and fetched."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._found = 0
        self._fetched = 0

    def __call__(self, line: str) -> None:
        text = line.strip()
        if text.startswith("found "):
            self._found += 1
            if self._found % 10 == 0:
                self._report(f"kafka: {self._found} modules resolved")
        elif text.startswith("[SUCCESSFUL"):
            self._fetched += 1
            if self._fetched % 10 == 0:
                self._report(f"kafka: {self._fetched} of {self._found} jars fetched")


def _ivy_jar() -> Path:
    """The Ivy inside the installed pyspark, found without importing it."""
    spec = importlib.util.find_spec("pyspark")
    places = spec.submodule_search_locations if spec else None
    jars = sorted((Path(places[0]) / "jars").glob("ivy-*.jar")) if places else []
    if not jars:
        raise ServiceError(
            "pyspark, whose Ivy fetches Kafka, is not installed whole: install the project again."
        )
    return jars[-1]
