"""Installed distributions, and which requirements of pyproject.toml bring them in."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
SHIPPED = ("pulsar", "delta", "connect", "notebooks")
"""Extras that a deployment installs; `dev` and `yolo` have licences that these must not have."""


def installed(folder: Path | None = None) -> dict[str, Distribution]:
    """Distributions by canonical name: of this environment, or of a `site-packages` folder."""
    found = distributions() if folder is None else distributions(path=[str(folder)])
    return {canonicalize_name(one.metadata["Name"]): one for one in found}


def project_requirements(extras: Iterable[str]) -> list[str]:
    """Requirements of the project, and of these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


def required(present: Mapping[str, Distribution], requirements: Iterable[str]) -> set[str]:
    """Names of the installed distributions that requirements bring in, transitively."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = [*requirements]
    while waiting:
        line = waiting.pop()
        if line in seen:
            continue
        seen.add(line)
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        if name in present and (wanted.marker is None or wanted.marker.evaluate({"extra": ""})):
            found.add(name)
            waiting += _requirements(present[name], wanted.extras)
    return found


def _requirements(distribution: Distribution, extras: Iterable[str]) -> list[str]:
    """Requirements of a distribution with these extras, without the markers they satisfy."""
    lines = []
    for line in distribution.requires or ():
        wanted = Requirement(line)
        chosen = ("", *extras)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": one}) for one in chosen):
            wanted.marker = None
            lines.append(str(wanted))
    return lines
