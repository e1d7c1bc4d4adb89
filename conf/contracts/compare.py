"""Effects of a new version of an event's JSON Schema on clients of the old one.

Both sides count. A sender must not be refused what the old contract allows, so nothing may get
narrower. A reader must not get what the old contract rules out, so an existing field remains and
keeps its type. What is left is additive: new optional fields, more values, wider bounds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from conf.contracts import Schema
from conf.errors import ContractError

_ANNOTATIONS = {"$schema", "$id", "$comment", "title", "description", "examples", "default"}
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_COMPARED = {*_ANNOTATIONS, *_LOWER, *_UPPER, "type", "enum", "const", "properties", "required"}
_INNER = ("items", "then", "else")


@dataclass(frozen=True)
class Change:
    """One difference between two versions of a contract.

    Attributes:
        path: of the field, such as `order.items[].quantity`.
        sentence: what changed, and whom it hurts.
        breaking: whether somebody who keeps to the old version is hurt.
    """

    path: str
    sentence: str
    breaking: bool


def compare_schemas(old: Schema, new: Schema, ignored: Collection[str] = ()) -> list[Change]:
    """Every difference, in the order of the old schema, but for ignored paths and wording.

    Raises:
        ContractError: a `$ref` that leads nowhere or into itself.
    """
    found = _changes(expand(old), expand(new), "")
    return [c for c in dict.fromkeys(found) if c.path not in ignored]


def expand(schema: Schema) -> dict[str, Any]:
    """The schema with what each `$ref` points to in its place, and without `$defs`.

    Raises:
        ContractError: a `$ref` that leads out of the file, nowhere, or into itself.
    """
    top = {name: part for name, part in schema.items() if name != "$defs"}
    expanded: dict[str, Any] = _expand(top, schema, ())
    return expanded


def _expand(part: Any, schema: Schema, visited: tuple[str, ...]) -> Any:
    if isinstance(part, list):
        return [_expand(p, schema, visited) for p in part]
    if not isinstance(part, Mapping):
        return part
    own = {name: _expand(p, schema, visited) for name, p in part.items() if name != "$ref"}
    reference = part.get("$ref")
    if not isinstance(reference, str):
        return own
    name = reference.removeprefix("#/$defs/")
    target = schema.get("$defs", {}).get(name)
    if target is None or name in visited:
        problem = "into itself" if target is not None else "nowhere in this file's $defs"
        raise ContractError(f"{schema.get('$id', 'A contract')}: {reference} leads {problem}.")
    return {**_expand(target, schema, (*visited, name)), **own}


def condition(schema: Schema, *, negated: bool = False) -> str:
    """The `if` of a schema in words: `event_type is order.status_changed`."""
    fields = schema.get("if", {}).get("properties", {})
    if len(fields) == 1:
        ((name, rule),) = fields.items()
        if "const" in rule:
            return f"{name} is {'not ' if negated else ''}{rule['const']}"
    return f"its condition {'fails' if negated else 'holds'}"


def _changes(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    where = path or "the event"
    if old.get("type") != new.get("type"):
        sentence = f"is {_words(new.get('type'))} now and was {_words(old.get('type'))}"
        yield Change(where, f"{sentence}: who reads or sends the old type fails.", breaking=True)
    yield from _value_changes(old, new, where)
    yield from _bound_changes(old, new, where)
    yield from _field_changes(old, new, path)
    for keyword in _INNER:
        if keyword in old and keyword in new:
            yield from _changes(old[keyword], new[keyword], _inner_path(old, keyword, path))
    both = {k for k in _INNER if k in old and k in new}
    for keyword in [*old, *(k for k in new if k not in old)]:
        if keyword not in _COMPARED | both and old.get(keyword) != new.get(keyword):
            sentence = f"{keyword} is {_words(new.get(keyword))} now and was"
            yield Change(where, f"{sentence} {_words(old.get(keyword))}.", breaking=True)


def _inner_path(schema: Schema, keyword: str, path: str) -> str:
    if keyword == "items":
        return f"{path}[]"
    return f"(where {condition(schema, negated=keyword == 'else')}) {path}"


def _value_changes(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = _values(old), _values(new)
    if before is None and after is None:
        return
    if before is None or after is None:
        sentence = f"allows {_listed(after)} now and allowed {_listed(before)}."
        yield Change(path, sentence, breaking=True)
        return
    if gone := [v for v in before if v not in after]:
        sentence = f"no longer allows {_listed(gone)}: who sends it is refused."
        yield Change(path, sentence, breaking=True)
    for value in (v for v in after if v not in before):
        hurt = ": readers that count on a value fail" if value is None else ", too"
        yield Change(path, f"may be {_value(value)} now{hurt}.", breaking=value is None)


def _values(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _bound_changes(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    for keyword in (*_LOWER, *_UPPER):
        before, after = old.get(keyword), new.get(keyword)
        if before == after:
            continue
        narrower = before is None or (
            after is not None and ((after > before) == (keyword in _LOWER))
        )
        sentence = f"{keyword} is {_words(after)} now and was {_words(before)}"
        hurt = ": who sends what the old one allows is refused." if narrower else "."
        yield Change(path, sentence + hurt, breaking=narrower)


def _field_changes(old: Schema, new: Schema, path: str) -> Iterator[Change]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed, needs = set(old.get("required", ())), set(new.get("required", ()))
    for name in dict.fromkeys([*before, *old.get("required", ())]):
        field = _join(path, name)
        if name not in after and name not in needs:
            yield Change(field, "was removed or renamed: readers miss it.", breaking=True)
            continue
        if name in needs - needed:
            sentence = "is required now: who leaves it out is refused."
            yield Change(field, sentence, breaking=True)
        if name in needed - needs:
            sentence = "is optional now: readers that count on it fail."
            yield Change(field, sentence, breaking=True)
        yield from _changes(before.get(name, {}), after.get(name, {}), field)
    known = {*before, *needed}
    for name in dict.fromkeys([*after, *new.get("required", ())]):
        if name in known:
            continue
        required = name in needs
        sentence = "is new and required: who keeps to the old version is refused."
        yield Change(
            _join(path, name), sentence if required else "is new and optional.", breaking=required
        )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and not path.endswith(" ") else f"{path}{name}"


def _listed(values: Collection[Any] | None) -> str:
    return "anything" if values is None else ", ".join(map(_value, values))


def _value(value: Any) -> str:
    return "null" if value is None else str(value)


def _words(value: Any) -> str:
    if value is None:
        return "not set"
    return " or ".join(map(str, value)) if isinstance(value, list) else str(value)
