"""docs/CONFIGURATION.md: every setting with its variable, type, default and meaning.

settings-doc was tried: it writes one heading for each of 200 variables, leaves out types, bounds
and alias choices, and prints absolute paths of the machine. This module is shorter than the
template that would correct that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic._internal._docs_extraction import extract_docstrings_from_cls
from pydantic_core import to_jsonable_python

from conf.settings import Settings
from tools.docs.markdown import render

TITLES = ("variable", "type", "default", "meaning")
PLAIN_TYPES = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    Path: "path",
    timedelta: "duration",
}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def settings_page(root: Path) -> str:
    """The page without the notice that it is generated.

    Args:
        root: of the checkout; default paths below it are shown from there.
    """
    tree = {n: f.get_default(call_default_factory=True) for n, f in Settings.model_fields.items()}
    branches = {name: value for name, value in tree.items() if isinstance(value, BaseModel)}
    general = [
        _row(name, Settings, name, value, root)
        for name, value in tree.items()
        if name not in branches
    ]
    sections = {
        name: {"about": _first_line(branch), "rows": list(_rows(name, branch, root))}
        for name, branch in branches.items()
    }
    return render("CONFIGURATION", titles=TITLES, general=general, branches=sections)


def _rows(path: str, branch: BaseModel, root: Path) -> Iterator[tuple[str, ...]]:
    for name in type(branch).model_fields:
        value = getattr(branch, name)
        if isinstance(value, BaseModel):
            yield from _rows(f"{path}__{name}", value, root)
        else:
            yield _row(f"{path}__{name}", type(branch), name, value, root)


def _first_line(branch: BaseModel) -> str:
    return (type(branch).__doc__ or "").strip().splitlines()[0]


def _row(path: str, model: type[BaseModel], name: str, default: Any, root: Path) -> tuple[str, ...]:
    field = model.model_fields[name]
    names = getattr(field.validation_alias, "choices", [f"STORELAKE_{path.upper()}"])
    variables = " or ".join(f"`{n}`" for n in names if n.isupper())
    bounds = [
        f"{sign}{getattr(rule, bound)}"
        for rule in field.metadata
        for bound, sign in BOUNDS.items()
        if hasattr(rule, bound)
    ]
    kind = " ".join([type_words(field.annotation), ", ".join(bounds)]).strip()
    meaning = " ".join(_docstrings(model).get(name, "").split()).replace("<", "&lt;")
    return variables, kind, _default_words(default, root), meaning


@cache
def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Of each field. Not `use_attribute_docstrings`: it parses the settings at every start."""
    classes = [one for one in reversed(model.__mro__) if one.__module__.startswith("conf.")]
    return {
        name: text
        for one in classes
        for name, text in extract_docstrings_from_cls(one, use_inspect=True).items()
    }


def type_words(annotation: Any) -> str:
    """A type in words: `str | None` is text, `Literal["a", "b"]` is its values."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    arguments = [a for a in get_args(annotation) if a is not type(None)]
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return " or ".join(type_words(a) for a in arguments)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in arguments)
    if origin in (tuple, list):
        return f"list of {type_words(arguments[0])}"
    if origin is dict:
        return f"object of {type_words(arguments[1])}"
    if getattr(annotation, "__name__", "").startswith("Secret"):
        return "secret"
    return PLAIN_TYPES.get(annotation, str(annotation))


def _default_words(default: Any, root: Path) -> str:
    if default is None or isinstance(default, SecretStr):
        return "none" if default is None else "secret"
    if isinstance(default, Path) and default.is_relative_to(root):
        default = default.relative_to(root)
    value = to_jsonable_python(default)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
