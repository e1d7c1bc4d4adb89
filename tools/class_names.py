"""List public class names that the product defines more than once: `python -m tools.class_names`.

The product is what the wheel contains: the packages of pyproject.toml. Exit status 1 if there are
any.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print each repeated name with its places; exit with status 1 if there are any."""
    repeated = repeated_classes(ROOT)
    for name, places in repeated.items():
        print(f"{name}: {', '.join(places)}")  # noqa: T201
    sys.exit(f"{len(repeated)} public class names are used more than once" if repeated else 0)


def repeated_classes(root: Path) -> dict[str, list[str]]:
    """Places (`file:line`) of each public class name with more than one definition, by name."""
    places: dict[str, list[str]] = defaultdict(list)
    for file in product_files(root):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{file.relative_to(root)}:{node.lineno}")
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def product_files(root: Path) -> Iterator[Path]:
    """Python files of the packages in the wheel."""
    with (root / "pyproject.toml").open("rb") as file:
        packages = tomllib.load(file)["tool"]["setuptools"]["packages"]
    for package in packages:
        yield from sorted((root / package.replace(".", "/")).glob("*.py"))


if __name__ == "__main__":
    main()
