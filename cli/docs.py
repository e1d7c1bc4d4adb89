"""`storelake docs`: the pages and contracts made from code, so that they cannot go stale."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from cli.context import console
from cli.grid import grid
from conf.errors import StorelakeError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from streaming.lake.tables import Table

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = "conf/contracts"
GENERATED = "<!-- Made by `storelake docs`; do not edit. -->"
PLAIN_TYPES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    timedelta: "duration",
}
TABLES_HEAD = """\
# Tables

The Iceberg tables, as `streaming/lake/tables.py` defines them; behind them [those of
Postgres](#postgres).

- **append**: rows are added; a batch that Spark repeats is recognised by its id in the snapshot and
  skipped ([ADR 0002](adr/0002-sinks-remember-source-positions.md)).
- **upsert**: a row replaces the one with the same key.
"""
SERVING_HEAD = """
## Postgres

The serving database, as `infra/postgres/migrations` defines it.
"""
CONFIGURATION_HEAD = """\
# Configuration

Every setting of `conf/settings.py`. The strongest source wins: environment variables, `.env`,
`<var>/secrets.env` (made by `storelake up`), the profile `conf/profiles/NAME.toml` that
`STORELAKE_PROFILE` names, the defaults below. A duration is a number of seconds or ISO 8601
(`PT5M`); lists and objects are JSON.

## General
"""
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class DocsError(StorelakeError):
    """The pages cannot be written here, or are not what the code says."""


def docs(
    check: Annotated[bool, typer.Option("--check", help="Only fail on a stale page.")] = False,
) -> None:
    """Write the contracts and the generated pages of docs from the code."""
    written = write_pages(ROOT, check=check)
    if not check:
        console().print(f"Wrote {', '.join(written)}." if written else "Everything is up to date.")


def write_pages(root: Path, *, check: bool) -> list[str]:
    """Write the pages and contracts that differ from what the code says.

    Args:
        root: of the checkout.
        check: only compare.

    Returns:
        The files written, from the root.

    Raises:
        DocsError: a file is stale (with `check`), or a folder is missing.
        ContractError: a file that is there is no contract.
    """
    from conf.contracts.odcs import SUFFIX

    for folder in (root / "docs", root / CONTRACTS):
        if not folder.is_dir():
            raise DocsError(f"{folder} does not exist: run `storelake docs` in a checkout.")
    texts = generated_files(root)
    there = {f"{CONTRACTS}/{f.name}" for f in (root / CONTRACTS).glob(f"*{SUFFIX}")}
    gone = sorted(there - texts.keys())
    stale = [name for name, text in texts.items() if _read(root / name) != text] + gone
    if check and stale:
        names, verb = " and ".join(stale), "does" if len(stale) == 1 else "do"
        raise DocsError(f"{names} {verb} not match the code: run `make docs`.")
    for name in stale:
        if name in gone:
            (root / name).unlink()
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(texts[name], encoding="utf-8")
    return stale


def generated_files(root: Path) -> dict[str, str]:
    """Every file that is made from code, by its path from the root."""
    from cli.contracts_page import contracts_page
    from cli.dashboards import dashboard_files
    from cli.flow_picture import flow_picture
    from cli.metrics_page import metrics_page
    from cli.odcs import build_contracts
    from cli.pages import cli_page
    from cli.queries_page import queries_page

    contracts = build_contracts(root / CONTRACTS)
    return {
        "docs/TABLES.md": tables_page(),
        "docs/CONFIGURATION.md": configuration_page(),
        "docs/CONTRACTS.md": contracts_page(contracts),
        "docs/QUERIES.md": f"{GENERATED}\n{queries_page()}",
        "docs/CLI.md": f"{GENERATED}\n{cli_page()}",
        "docs/pictures/flow.svg": flow_picture(),
        "docs/METRICS.md": f"{GENERATED}\n{metrics_page()}",
        **dashboard_files(),
        **{f"{CONTRACTS}/{name}": contract.to_yaml() for name, contract in contracts.items()},
    }


def _read(page: Path) -> str | None:
    return page.read_text(encoding="utf-8") if page.is_file() else None


def tables_page() -> str:
    """The page of the lake's tables, and of those in the serving database."""
    from cli.serving import read_relations
    from infra.postgres.migrate import MIGRATIONS
    from streaming.lake.tables import TABLES

    lines = [
        GENERATED,
        TABLES_HEAD,
        *grid(
            ("table", "one row is", "writer"),
            [(f"[{t.name}](#{t.name.replace('.', '')})", t.grain, f"`{t.writer}`") for t in TABLES],
        ),
    ]
    for table in TABLES:
        lines += _table_section(table)
    relations = [
        (f"`{r.name}`", r.kind, r.grain, ", ".join(f"`{k}`" for k in r.key))
        for r in read_relations(MIGRATIONS)
    ]
    lines += [SERVING_HEAD, *grid(("name", "kind", "one row is", "key"), relations)]
    return "\n".join(lines) + "\n"


def _table_section(table: Table) -> list[str]:
    partition = ", ".join(f"`{p}`" for p in table.partition) or "none"
    return [
        "",
        f"## {table.name}",
        "",
        f"- One row: {table.grain}",
        f"- Key: {', '.join(f'`{k}`' for k in table.key)}",
        f"- Writer: `{table.writer}`, by {table.strategy}",
        f"- Partition: {partition}; maintenance sorts by {', '.join(f'`{c}`' for c in table.sort)}",
        "",
        *grid(
            ("column", "type", "meaning"),
            [(f"`{c.name}`", f"`{c.type}`", c.comment) for c in table.fields],
        ),
    ]


def configuration_page() -> str:
    """The page of the settings."""
    from pydantic import BaseModel

    from conf.settings import Settings

    lines, own, branches = [GENERATED, CONFIGURATION_HEAD], [], []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            branches.append((name, default))
        else:
            own.append(_setting_row(name, field, default))
    lines += _settings_grid(own)
    for name, branch in branches:
        lines += ["", f"## {name}", "", _first_line(branch), ""]
        lines += _settings_grid(list(_branch_rows(name, branch)))
    return "\n".join(lines) + "\n"


def _branch_rows(path: str, branch: BaseModel) -> Iterator[tuple[str, ...]]:
    from pydantic import BaseModel

    for name, field in type(branch).model_fields.items():
        value = getattr(branch, name)
        if isinstance(value, BaseModel):
            yield from _branch_rows(f"{path}__{name}", value)
        else:
            yield _setting_row(f"{path}__{name}", field, value)


def _first_line(branch: BaseModel) -> str:
    return (type(branch).__doc__ or "").strip().splitlines()[0]


def _setting_row(path: str, field: FieldInfo, default: Any) -> tuple[str, ...]:
    names = getattr(field.validation_alias, "choices", [f"STORELAKE_{path.upper()}"])
    variables = " or ".join(f"`{n}`" for n in names if n.isupper())
    bounds = [
        f"{words} {getattr(rule, bound)}"
        for rule in field.metadata
        for bound, words in BOUNDS.items()
        if hasattr(rule, bound)
    ]
    kind = ", ".join([type_words(field.annotation), *bounds])
    return variables, kind, _default_words(default), (field.description or "").replace("<", "&lt;")


def type_words(annotation: Any) -> str:
    """A type in words: `str | None` is text, `Literal["a", "b"]` is its values."""
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


def _default_words(default: Any) -> str:
    from pydantic import SecretStr
    from pydantic_core import to_jsonable_python

    if default is None or isinstance(default, SecretStr):
        return "not set" if default is None else "secret"
    if isinstance(default, Path) and default.is_relative_to(ROOT):
        default = default.relative_to(ROOT)
    value = to_jsonable_python(default)
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _settings_grid(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return grid(("variable", "type", "default", "meaning"), rows)
