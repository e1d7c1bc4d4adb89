"""Advisories, licences, the SBOM and secrets: `python -m tools.supply`."""

from __future__ import annotations

import json
import zipfile
from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

from conf.errors import StorelakeError
from tools.supply import advisories
from tools.supply.components import python_components, unique
from tools.supply.installed import installed
from tools.supply.licences import PROGRAMS, SHIPPABLE, YOLO, allows, licence
from tools.supply.sbom import write
from tools.supply.secrets import files_of, scan

HTTPX = ("pypi", "httpx", "0.28.1")


def osv(name: str, *events: dict[str, str], ecosystem: str = "PyPI", **more: Any) -> dict[str, Any]:
    package = {"ecosystem": ecosystem, "name": name}
    affected = [{"package": package, "ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}]
    return {"id": "GHSA-1", "affected": affected, **more}


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([{"introduced": "0"}, {"fixed": "0.28.2"}], True),
        ([{"introduced": "0"}, {"fixed": "0.28.1"}], False),
        ([{"introduced": "0.28.1"}], True),
        ([{"introduced": "0.29"}], False),
        ([{"introduced": "0"}, {"last_affected": "0.28.1"}], True),
        ([{"introduced": "0"}, {"last_affected": "0.28.0"}], False),
        # Out of order, with a second range that is open.
        ([{"introduced": "0.28"}, {"introduced": "0"}, {"fixed": "0.9"}], True),
    ],
)
def test_an_advisory_applies_to_the_versions_of_its_ranges(
    events: list[dict[str, str]], found: bool
) -> None:
    assert bool(advisories.findings([osv("HTTPX", *events)], [HTTPX])) == found


def test_a_finding_shows_severity_and_fixed_version(tmp_path: Path) -> None:
    record = osv("httpx", {"introduced": "0"}, {"fixed": "0.29"})
    record["database_specific"] = {"severity": "HIGH"}
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("GHSA-1.json", json.dumps(record))

    (found,) = advisories.findings(advisories.read(archive), [HTTPX])

    assert str(found) == "httpx 0.28.1: GHSA-1, severity high, fixed in 0.29"


def test_a_report_of_pip_audit_applies_to_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    vulnerable = {"id": "PYSEC-1", "fix_versions": ["0.30"]}
    httpx = {"name": "httpx", "version": "0.28.1", "vulns": [vulnerable]}
    file.write_text(json.dumps({"dependencies": [httpx, {"name": "rich", "skip_reason": "x"}]}))

    (found,) = advisories.findings(advisories.read(file), [HTTPX])

    assert (found.advisory, found.fixed) == ("PYSEC-1", ("0.30",))


def test_a_jar_is_compared_and_another_ecosystem_is_not() -> None:
    record = osv("org.example:log", {"introduced": "0"}, {"fixed": "2.0"}, ecosystem="Maven")
    jar = ("maven", "org.example:log", "1.9")

    assert advisories.findings([record], [jar, ("pypi", "org.example:log", "1.9")])
    # What cannot be compared is shown rather than passed over.
    assert advisories.findings([record], [("maven", "org.example:log", "3.0.Final")])
    assert not advisories.findings([{**record, "withdrawn": "2026-01-01T00:00:00Z"}], [jar])


@pytest.mark.parametrize("text", ["", "[]x", '"text"', '[{"name": "httpx"}]', "[1]"])
def test_a_file_of_another_format_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "advisories.json"
    file.write_text(text)
    with pytest.raises(StorelakeError, match="holds no advisories"):
        advisories.read(file)


class Stated(Distribution):
    """A distribution with this metadata."""

    def __init__(self, **metadata: str) -> None:
        self.message = Message()
        for name, value in {"Name": "example", **metadata}.items():
            self.message[name.replace("_", "-")] = value

    @property
    def metadata(self) -> Any:
        return self.message

    def read_text(self, filename: str) -> str | None:
        return None

    def locate_file(self, path: Any) -> Any:
        return path


@pytest.mark.parametrize(
    ("metadata", "allowed"),
    [
        ({"License_Expression": "MIT OR GPL-3.0-only"}, True),
        ({"License_Expression": "MIT AND GPL-3.0-only"}, False),
        ({"License_Expression": "Apache-2.0 WITH LLVM-exception"}, True),
        ({"License_Expression": "AGPL-3.0-only"}, False),
        ({"License": "BSD\nand its whole text"}, True),
        ({"License": "As is"}, False),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, True),
        ({}, False),
    ],
)
def test_a_licence_is_allowed_in_what_is_shipped(metadata: dict[str, str], allowed: bool) -> None:
    assert allows(SHIPPABLE, licence(Stated(**metadata))) == allowed


def test_agpl_is_allowed_in_the_extra_alone() -> None:
    assert [allows(one, "AGPL-3.0-only") for one in (SHIPPABLE, PROGRAMS, YOLO)] == [
        False,
        False,
        True,
    ]


def test_the_sbom_has_name_version_and_licence(tmp_path: Path) -> None:
    httpx = python_components({"httpx": installed()["httpx"]})

    write("example", unique([*httpx, *httpx]), tmp_path / "sbom.cdx.json")

    (component,) = json.loads((tmp_path / "sbom.cdx.json").read_text())["components"]
    assert component["purl"] == f"pkg:pypi/httpx@{component['version']}"
    assert component["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("settings.py", 'PASSWORD = "{0}"'),
        ("store.toml", 'secret_key = "{0}"'),
        (".env", "POSTGRES_URL=postgresql://storelake:{0}@db.example/storelake"),
        ("notes.md", "AKIA" + "Z7QK2M4N8P3R5T6V"),
        ("server.pem", "-----BEGIN RSA " + "PRIVATE KEY-----"),
    ],
)
def test_an_added_secret_is_found(tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / name).write_text(line.format("hT9" + "x2LmQz7pR4vKd8") + "\n")
    assert [path for path, _ in scan(tmp_path, [name], processors=1)] == [name]


def test_files_without_their_history_are_searched_too(tmp_path: Path) -> None:
    for name in ("conf/a.py", ".venv/b.py", "var/secrets.env"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")

    assert files_of(tmp_path) == ["conf/a.py"]
