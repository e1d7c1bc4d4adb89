"""What storelake is made of, as components of an SBOM: Python distributions, jars, Debian packages.

Sources of the identifiers: package URL (purl) types `pypi`, `maven`, `golang`, `deb`, `generic`.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution
from pathlib import Path
from xml.etree import ElementTree

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.component import Component, ComponentType
from packageurl import PackageURL

from conf.settings import Settings
from conf.vendor import package_folder
from infra.local import go
from infra.local.jars import KAFKA, PULSAR, TRINO, jars_folder
from tools.supply.licences import licence

LICENCES = LicenseFactory()
JAR_NAME = re.compile(r"(?P<name>.+?)-(?P<version>\d[\w.+-]*)\.jar")


def python_components(present: Mapping[str, Distribution]) -> Iterator[Component]:
    """One for each distribution, with its licence."""
    for name, one in sorted(present.items()):
        component = _component(PackageURL("pypi", name=name, version=one.version))
        if text := licence(one):
            component.licenses.add(LICENCES.make_from_string(text))
        yield component


def fetched_components(settings: Settings) -> Iterator[Component]:
    """What programs fetch at their first start: packages of Spark and of the local servers.

    A server whose jars have come has all of them, otherwise the coordinates that are requested.
    """
    spark = settings.spark
    packages = {*spark.packages, *spark.delta_packages, *spark.s3_packages}
    for coordinates in sorted(packages | {*spark.hadoop_s3_packages}):
        yield _component(_maven(*coordinates.split(":")))
    for bundle in (KAFKA, PULSAR, TRINO):
        if (folder := jars_folder(bundle, settings.cache_dir)).is_dir():
            yield from jar_components(folder)
            continue
        for element in ElementTree.fromstring(bundle.module).iter("dependency"):  # noqa: S314 (ours)
            yield _component(_maven(*(element.attrib[part] for part in ("org", "name", "rev"))))
    namespace, _, name = go.MODULE.rpartition("/")
    yield _component(PackageURL("golang", namespace, name, go.VERSION))


def pyspark_jars() -> Path | None:
    """The folder of the jars inside the installed pyspark."""
    return package_folder("pyspark")


def jar_components(folder: Path) -> Iterator[Component]:
    """One for each jar below a folder, with its SHA-256."""
    for path in sorted(folder.rglob("*.jar")):
        component = _component(_jar_url(path))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        component.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=digest))
        yield component


def _maven(group: str, artifact: str, version: str) -> PackageURL:
    return PackageURL("maven", group, artifact, version)


def _jar_url(path: Path) -> PackageURL:
    """By the Maven properties of the jar with its name, otherwise by its name alone."""
    named = JAR_NAME.fullmatch(path.name)
    with zipfile.ZipFile(path) as jar:
        for entry in jar.namelist():
            parts = entry.split("/")
            if parts[:2] == ["META-INF", "maven"] and parts[-1] == "pom.properties":
                group, artifact = parts[2:4]
                if path.name.removeprefix(f"{group}-").startswith(f"{artifact}-"):
                    return PackageURL("maven", group, artifact, _version(jar.read(entry)))
    if named:
        return PackageURL("generic", name=named["name"], version=named["version"])
    return PackageURL("generic", name=path.stem)


def _version(properties: bytes) -> str | None:
    found = re.search(rb"^version\s*=\s*(\S+)", properties, re.MULTILINE)
    return found[1].decode() if found else None


def debian_components(root: Path) -> Iterator[Component]:
    """One for each installed package of a root file system."""
    status = root / "var" / "lib" / "dpkg" / "status"
    if not status.is_file():
        return
    for paragraph in status.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Status): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            yield _component(PackageURL("deb", "debian", fields["Package"], fields["Version"]))


def unique(components: Iterable[Component]) -> list[Component]:
    """Without repeats of one purl."""
    return [*{str(one.purl): one for one in components}.values()]


def _component(url: PackageURL) -> Component:
    return Component(
        type=ComponentType.LIBRARY,
        name=url.name,
        group=url.namespace,
        version=url.version,
        purl=url,
        bom_ref=str(url),
    )
