"""SBOM in CycloneDX 1.6 JSON, of the wheel or of the root file system of an image."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import Distribution
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from conf.errors import StorelakeError
from conf.settings import load_settings
from tools.supply.components import (
    debian_components,
    fetched_components,
    jar_components,
    pyspark_jars,
    python_components,
    unique,
)
from tools.supply.installed import SHIPPED, installed, project_requirements, required


def wheel_components() -> list[Component]:
    """What an installation of the wheel consists of, with every extra that is shipped.

    Raises:
        StorelakeError: pyspark is not installed.
    """
    present = installed()
    names = required(present, project_requirements(SHIPPED))
    folder = pyspark_jars()
    if folder is None:
        raise StorelakeError("pyspark is not installed: run `make install`.")
    python = python_components(_some(present, names))
    return unique([*python, *jar_components(folder), *fetched_components(load_settings())])


def image_components(root: Path) -> list[Component]:
    """What the root file system of an image contains: Debian packages, distributions, jars."""
    found = [*debian_components(root)]
    for folder in sorted(root.glob("opt/venv/lib/python3*/site-packages")):
        found += python_components(installed(folder))
        found += jar_components(folder)
    return unique(found)


def write(name: str, components: Iterable[Component], path: Path) -> int:
    """Write an SBOM; returns how many components it has.

    Args:
        name: of what the components make up.
        components: with unique purls.
        path: of the JSON file; its folder is made.

    Raises:
        StorelakeError: the document does not match the schema of CycloneDX.
    """
    bom = Bom(components=components)
    bom.metadata.component = Component(
        type=ComponentType.APPLICATION, name=name, bom_ref="root", version=_own_version()
    )
    bom.register_dependency(bom.metadata.component, bom.components)
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise StorelakeError(f"The SBOM of {name} does not match its schema: {error}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    return len(bom.components)


def _some(present: dict[str, Distribution], names: set[str]) -> dict[str, Distribution]:
    return {name: one for name, one in present.items() if name in names}


def _own_version() -> str | None:
    return own.version if (own := installed().get("storelake")) else None
