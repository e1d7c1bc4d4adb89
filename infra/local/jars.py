"""The jars of our Java servers, fetched once by the Ivy that pyspark ships; Maven is not needed."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from conf.vendor import package_folder
from infra.errors import ServiceError
from infra.local.checks import require_disk
from infra.local.locks import exclusive
from infra.local.tool import Report, line_counter, run_tool

KAFKA_VERSION = "4.3.1"
PULSAR_VERSION = "4.0.8"
TRINO_VERSION = "476"
IVY_LINES = {"found ": "{} modules resolved", "[SUCCESSFUL": "{1} of {0} jars fetched"}
PATTERN = "[artifact]-[revision](-[classifier]).[ext]"


@dataclass(frozen=True)
class Bundle:
    """What one server is made of.

    Attributes:
        version: of it, and of the folder in the cache.
        megabytes: to download.
        dependencies: Ivy's `dependency` elements.
        proof: a file that is there when everything came.
        unpack: what to do with the folder of the fetched files, when they are not jars yet.
    """

    name: str
    version: str
    megabytes: int
    dependencies: str
    proof: str
    unpack: Callable[[Path], None] = lambda _: None

    @property
    def stem(self) -> str:
        """Of folders and locks."""
        return self.name.lower()

    @property
    def module(self) -> str:
        """An Ivy file that requests the dependencies."""
        return f"""\
<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">
  <info organisation="storelake" module="{self.stem}-broker"/>
  <configurations><conf name="default"/></configurations>
  <dependencies>{self.dependencies}</dependencies>
</ivy-module>
"""


def _unpack_pulsar(folder: Path) -> None:
    """Keep the jars of the server alone: no tools, connectors, or programs of other systems."""
    archive = folder / f"pulsar-server-distribution-{PULSAR_VERSION}-bin.tar.gz"
    if not archive.is_file():
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(member.name)
            content = tar.extractfile(member)
            if content and path.parts[1:2] == ("lib",) and path.suffix == ".jar":
                with (folder / path.name).open("wb") as jar:
                    shutil.copyfileobj(content, jar)
    archive.unlink()


def _unpack_trino(folder: Path) -> None:
    """The server's jars, and beside them `plugin/iceberg`; nothing else of either archive."""
    archive = folder / f"trino-server-core-{TRINO_VERSION}.tar.gz"
    plugin = folder / f"trino-iceberg-{TRINO_VERSION}.zip"
    if not archive.is_file() or not plugin.is_file():
        return
    with tarfile.open(archive) as tar:
        # Older patch releases of Python know no filter; Trino's own archive needs none.
        tar.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        tar.extractall(folder)  # noqa: S202 - whole: the same jar twice is a link in it
    core = folder / archive.name.removesuffix(".tar.gz")
    for jar in (core / "lib").glob("*.jar"):
        jar.rename(folder / jar.name)
    shutil.rmtree(core)
    with zipfile.ZipFile(plugin) as packed:
        packed.extractall(folder)  # noqa: S202 (zipfile keeps names below the folder)
    (folder / "plugin").mkdir()
    (folder / plugin.stem).rename(folder / "plugin" / "iceberg")
    archive.unlink()
    plugin.unlink()


# `default` is run time plus the module's own jar, which `runtime` alone leaves out. Kafka's POM
# has no logging back end, and without one a broker that fails at start logs nothing.
KAFKA = Bundle(
    "Kafka",
    KAFKA_VERSION,
    44,
    f"""
    <dependency org="org.apache.kafka" name="kafka_2.13" rev="{KAFKA_VERSION}"
                conf="default->default"/>
    <dependency org="org.apache.logging.log4j" name="log4j-slf4j-impl" rev="2.25.4"
                conf="default->default"/>""",
    f"kafka_2.13-{KAFKA_VERSION}.jar",
)
# The distribution has all jars in one archive; its POM, which names hundreds, is not followed.
PULSAR = Bundle(
    "Pulsar",
    PULSAR_VERSION,
    245,
    f"""
    <dependency org="org.apache.pulsar" name="pulsar-server-distribution" rev="{PULSAR_VERSION}"
                transitive="false" conf="default->master">
      <artifact name="pulsar-server-distribution" type="tar.gz" ext="tar.gz" m:classifier="bin"/>
    </dependency>""",
    f"org.apache.pulsar-pulsar-broker-{PULSAR_VERSION}.jar",
    _unpack_pulsar,
)

# The core has no connector at all; ours is a plug-in, with class loader and folder of its own.
TRINO = Bundle(
    "Trino",
    TRINO_VERSION,
    540,
    f"""
    <dependency org="io.trino" name="trino-server-core" rev="{TRINO_VERSION}"
                transitive="false" conf="default->master">
      <artifact name="trino-server-core" type="tar.gz" ext="tar.gz"/>
    </dependency>
    <dependency org="io.trino" name="trino-iceberg" rev="{TRINO_VERSION}"
                transitive="false" conf="default->master">
      <artifact name="trino-iceberg" type="zip" ext="zip"/>
    </dependency>""",
    f"io.trino_trino-main-{TRINO_VERSION}.jar",
    _unpack_trino,
)


def jars_folder(bundle: Bundle, cache_dir: Path) -> Path:
    """Where the jars are, once they are all there."""
    return cache_dir / f"{bundle.stem}-{bundle.version}"


def fetch_jars(bundle: Bundle, cache_dir: Path, java: str, cancel: Event, report: Report) -> Path:
    """The folder with a server's jars, downloading them the first time.

    A folder under the final name is always complete: the jars are collected elsewhere and moved
    there in one step.

    Raises:
        ServiceError: the download failed, or there is no room for it.
    """
    target = jars_folder(bundle, cache_dir)
    if target.is_dir():
        return target
    require_disk(cache_dir)
    what = f"fetching {bundle.name}"
    with exclusive(cache_dir / f"{bundle.stem}.lock", what, seconds=900, cancel=cancel):
        if not target.is_dir():
            prefix = f"{bundle.stem}-partial-"
            with tempfile.TemporaryDirectory(dir=cache_dir, prefix=prefix) as scratch:
                _fetch(bundle, Path(scratch), java, cancel, report)
                (Path(scratch) / "jars").rename(target)
    return target


def _fetch(bundle: Bundle, scratch: Path, java: str, cancel: Event, report: Report) -> None:
    ivy_home = scratch.parent / f"ivy-{bundle.stem}"
    module = scratch / "ivy.xml"
    module.write_text(bundle.module)
    jars = scratch / "jars"
    progress = line_counter(bundle.stem, report, 10, IVY_LINES)
    # A cache of its own, free of what other tools left half done in the user's.
    command = [java, f"-Divy.default.ivy.user.dir={ivy_home}", "-jar", str(_ivy_jar())]
    command += ["-ivy", str(module), "-cache", str(ivy_home / "cache"), "-confs", "default"]
    command += ["-retrieve", f"{jars}/{PATTERN}"]
    report(f"{bundle.stem}: fetching its jars ({bundle.megabytes} MB, once)")
    try:
        run_tool(command, f"Fetching {bundle.name}'s jars", cancel, on_line=progress)
        bundle.unpack(jars)
    except (ServiceError, tarfile.TarError, zipfile.BadZipFile) as error:
        if not cancel.is_set():
            # A cache that noted a failure repeats it, so the next try starts from nothing.
            shutil.rmtree(ivy_home, ignore_errors=True)
        raise ServiceError(f"{error} Check the network, then run `storelake up` again.") from error
    shutil.rmtree(ivy_home, ignore_errors=True)  # a second copy of what has come
    if not (jars / bundle.proof).is_file():
        raise ServiceError(
            f"{bundle.name}'s jars came without the broker: run `storelake up` again."
        )


def _ivy_jar() -> Path:
    """The Ivy inside the installed pyspark, found without importing it."""
    folder = package_folder("pyspark")
    jars = sorted((folder / "jars").glob("ivy-*.jar")) if folder else []
    if not jars:
        raise ServiceError(
            "pyspark, whose Ivy fetches the servers, is not installed whole: install the project "
            "again."
        )
    return jars[-1]
