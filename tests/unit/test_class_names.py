"""The list of public class names that are defined more than once."""

from __future__ import annotations

from pathlib import Path

from tools.class_names import repeated_classes


def test_repeated_public_names_of_the_packages_are_listed_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.setuptools]\npackages = ["a", "a.b"]\n')
    for path, text in {
        "a/one.py": "class Row: ...\nclass _Private: ...\n",
        "a/b/two.py": "class Table: ...\nclass Row: ...\nclass _Private: ...\n",
        "outside/three.py": "class Table: ...\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert repeated_classes(tmp_path) == {"Row": ["a/one.py:1", "a/b/two.py:2"]}
