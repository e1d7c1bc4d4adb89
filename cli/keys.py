"""`storelake keys`: make, list, revoke and rotate the keys of the gateway."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.app import new_app
from cli.context import parse_age, read_settings
from conf.gateway_keys import SCOPES, KeyParts
from infra.terminal import console, error_console
from infra.terminal_table import TextTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from infra.postgres.gateway_keys import KeyRow

app = new_app("keys", "Keys of the gateway: make, list, revoke, rotate.")

KeyId = Annotated[str, typer.Argument(metavar="ID", help="Of `storelake keys list`.")]
Expires = Annotated[
    timedelta | None,
    typer.Option(parser=parse_age, metavar="AGE", help="Such as 90d or 12h; else 90d."),
]
LIFETIME, OVERLAP = timedelta(days=90), timedelta(hours=24)


@app.command()
def create(
    *,
    branch: Annotated[list[str] | None, typer.Option(metavar="ID", help="May be repeated.")] = None,
    all_branches: Annotated[
        bool, typer.Option("--all-branches", help="Of today and later.")
    ] = False,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(SCOPES)}; else all of them.")
    ] = None,
    expires: Expires = None,
    name: Annotated[str, typer.Option(help="For the list, such as the till.")] = "",
) -> None:
    """Make a key and print it, this once; it is valid at once."""
    from infra.postgres.gateway_keys import create_key

    settings, branches, scopes = read_settings(), branch or [], scope or SCOPES
    if all_branches == bool(branches):
        raise typer.BadParameter("give either --branch, once or more, or --all-branches")
    _require_known("branch", branches, _branches_of(settings.stores_file))
    _require_known("scope", scopes, SCOPES)
    key = create_key(
        settings,
        name=name,
        branches=branches or None,
        scopes=scopes,
        lifetime=_lifetime(expires, timedelta()),
    )
    _print_secret(key, "made: keep it now, it is not shown again")


@app.command("list")
def list_keys(
    form: Annotated[Literal["table", "json"], typer.Option("--format", help="Of the output.")] = (
        "table"
    ),
) -> None:
    """List all keys, the newest first; `used` lags behind by a minute."""
    from infra.postgres.gateway_keys import list_keys as read_keys

    rows = [_cells(row) for row in read_keys(read_settings())]
    if form == "json":
        import json

        typer.echo(json.dumps(rows, indent=2))
    else:
        keys_table(rows).show()


@app.command()
def revoke(key: KeyId) -> None:
    """End a key for good, within `gateway.key_cache_seconds`."""
    from infra.postgres.gateway_keys import revoke_key

    revoke_key(read_settings(), key)
    console().print(f"Key {key} is revoked.", markup=False, highlight=False)


@app.command()
def rotate(
    key: KeyId,
    *,
    overlap: Annotated[
        timedelta | None,
        typer.Option(
            parser=parse_age, metavar="AGE", help="When the present secret ends; else after 24h."
        ),
    ] = None,
    expires: Expires = None,
) -> None:
    """Give a key a new secret and print it, this once."""
    from infra.postgres.gateway_keys import rotate_key

    both = OVERLAP if overlap is None else overlap
    made = rotate_key(read_settings(), key, overlap=both, lifetime=_lifetime(expires, both))
    _print_secret(made, "has a new secret: the one before ends after the overlap")


@app.command()
def local() -> None:
    """Print the header with the key of this machine, for `curl -H @-`."""
    from infra.local.passwords import with_local_key

    for name, value in with_local_key(read_settings()).gateway.authorization.items():
        typer.echo(f"{name}: {value}")


def _lifetime(expires: timedelta | None, overlap: timedelta) -> timedelta:
    """How long a secret is valid: longer than the one before it still is."""
    lifetime = LIFETIME if expires is None else expires
    if lifetime <= overlap:
        raise typer.BadParameter(
            "the key would end at once: give a longer --expires"
            if not overlap
            else "the new secret would end before the present one: give a longer --expires"
        )
    return lifetime


def _print_secret(key: KeyParts, what: str) -> None:
    """The secret alone on standard output, so that it can be piped."""
    error_console().print(f"Key {key.id} {what}.", markup=False, highlight=False)
    typer.echo(key.text)


def _branches_of(stores_file: Path) -> list[str]:
    from conf.stores import load_stores

    return [branch.branch_id for branch in load_stores(stores_file).branches]


def _require_known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    if unknown := sorted({*given} - {*known}):
        raise typer.BadParameter(f"no {what} {', '.join(unknown)}: known are {', '.join(known)}")


def _cells(row: KeyRow) -> dict[str, str | list[str] | None]:
    """A row of the list; times in UTC."""
    return {
        "id": row.id,
        "name": row.name,
        "branches": row.branches or ["all"],
        "scopes": row.scopes,
        "made": row.created_at.isoformat(timespec="seconds"),
        "expires": row.expires_at.isoformat(timespec="seconds"),
        "used": row.last_used_at.isoformat(timespec="seconds") if row.last_used_at else None,
        "state": row.state,
    }


def keys_table(rows: Sequence[dict[str, str | list[str] | None]]) -> TextTable:
    """One row a key."""
    names = ("id", "name", "branches", "scopes", "made", "expires", "used", "state")
    cells = [[_text(row[name]) for name in names] for row in rows]
    return TextTable(names, cells, prose=("name", "branches", "scopes"))


def _text(value: str | list[str] | None) -> str:
    return ", ".join(value) if isinstance(value, list) else value or ""
