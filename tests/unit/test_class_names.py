"""One public class name is used for one thing in the whole product."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict

from tools.docs.files import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_no_public_class_name_is_used_twice_in_the_wheel() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages = tomllib.load(file)["tool"]["setuptools"]["packages"]
    places: dict[str, list[str]] = defaultdict(list)
    for package in packages:
        for file in (ROOT / package.replace(".", "/")).glob("*.py"):
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
