"""Known advisories against installed components, read from a file: no network is used.

Formats: OSV records (https://ossf.github.io/osv-schema/) as one object, a list, `{"vulns": [...]}`
or a zip of JSON files (OSV's download of an ecosystem); the report of `pip-audit --format json`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packageurl import PackageURL
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from conf.errors import StorelakeError

Record = Mapping[str, Any]
ECOSYSTEMS = {"pypi": "PyPI", "maven": "Maven", "golang": "Go"}


@dataclass(frozen=True, order=True)
class Finding:
    """An advisory that applies to a component; `fixed` names versions, empty when there is none."""

    name: str
    version: str
    advisory: str
    severity: str
    fixed: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        fixed = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no fixed version"
        return f"{self.name} {self.version}: {self.advisory}, severity {self.severity}, {fixed}"


def read(file: Path) -> list[Record]:
    """OSV records of a file.

    Raises:
        StorelakeError: it cannot be read, or has another format.
    """
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if name.endswith(".json")]
                return [record for name in names for record in _records(archive.read(name))]
        return [*_records(file.read_bytes())]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorelakeError(
            f"{file} holds no advisories: OSV records or the JSON report of pip-audit ({error})."
        ) from error


def _records(text: bytes) -> Iterator[Record]:
    data = json.loads(text)
    if isinstance(data, dict) and "dependencies" in data:
        for dependency in data["dependencies"]:
            yield from (_as_osv(dependency, found) for found in dependency.get("vulns", ()))
        return
    many = data.get("vulns", [data]) if isinstance(data, dict) else data
    for record in many:
        yield {"id": record["id"], **record}


def _as_osv(dependency: Record, found: Record) -> Record:
    package = {"ecosystem": "PyPI", "name": dependency["name"]}
    events = [{"fixed": version} for version in found.get("fix_versions", ())]
    affected = {"package": package, "versions": [dependency["version"]], "fixes": events}
    return {"id": found["id"], "affected": [affected]}


def key(url: PackageURL) -> tuple[str, str, str]:
    """Type, name as OSV writes it, version of a package URL."""
    separator = ":" if url.type == "maven" else "/"
    name = separator.join(filter(None, (url.namespace, url.name)))
    return url.type, name, url.version or ""


def findings(
    records: Iterable[Record], components: Iterable[tuple[str, str, str]]
) -> list[Finding]:
    """Advisories that apply to components.

    Args:
        records: in the format of OSV; withdrawn ones apply to nothing.
        components: type of the purl, name (of Maven `group:artifact`), version.
    """
    present: dict[tuple[str, str], list[str]] = {}
    for kind, name, version in components:
        present.setdefault((ECOSYSTEMS.get(kind, kind), _name(kind, name)), []).append(version)
    found = set()
    for record in records:
        for affected in () if record.get("withdrawn") else record.get("affected", ()):
            package = affected.get("package", {})
            key = (package.get("ecosystem"), _name(package.get("ecosystem"), package.get("name")))
            for version in present.get(key, ()):
                if applies(affected, version):
                    found.add(_finding(record, affected, version))
    return sorted(found)


def _name(kind: str, name: str) -> str:
    return canonicalize_name(name) if kind.lower() == "pypi" else name


def applies(affected: Record, version: str) -> bool:
    """Whether an `affected` object of OSV includes a version."""
    if version in affected.get("versions", ()):
        return True
    ranges = [one for one in affected.get("ranges", ()) if one.get("type") != "GIT"]
    return any(_in_range(one.get("events", ()), version) for one in ranges)


def _in_range(events: Iterable[Mapping[str, str]], version: str) -> bool:
    """The evaluation of the OSV schema; a version that cannot be compared is in every range."""
    try:
        present, inside = Version(version), False
        for event in sorted(events, key=lambda event: _parsed(next(iter(event.values())))):
            if "introduced" in event and present >= _parsed(event["introduced"]):
                inside = True
            if "fixed" in event and present >= _parsed(event["fixed"]):
                inside = False
            if "last_affected" in event and present > _parsed(event["last_affected"]):
                inside = False
    except InvalidVersion:
        return True
    return inside


def _parsed(version: str) -> Version:
    return Version("0.dev0" if version == "0" else version)


def _finding(record: Record, affected: Record, version: str) -> Finding:
    name = str(affected["package"]["name"])
    events = [event for one in affected.get("ranges", ()) for event in one.get("events", ())]
    fixed = [event["fixed"] for event in [*events, *affected.get("fixes", ())] if "fixed" in event]
    return Finding(name, version, record["id"], _severity(record), tuple(dict.fromkeys(fixed)))


def _severity(record: Record) -> str:
    """The level of GitHub's database, otherwise the vector of CVSS."""
    stated = record.get("database_specific", {}).get("severity")
    scores = [one.get("score") for one in record.get("severity", ())]
    return str(stated or next(iter(scores), "unknown")).lower()
