"""`storelake contracts`: whether a change of a contract hurts somebody who keeps to the old one."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conf.errors import ContractError
from conf.terminal import console

if TYPE_CHECKING:
    from open_data_contract_standard.model import OpenDataContractStandard

    from conf.contracts import Schema
    from conf.contracts.compare import Change

    Contracts = Mapping[str, Schema | OpenDataContractStandard]

app = typer.Typer(
    name="contracts",
    help="What others may send and rely on: check that a change hurts nobody.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def group() -> None:
    """Keeps `check` a command of its own while there is no second one."""


@app.command()
def check(
    against: Annotated[
        str | None,
        typer.Option(metavar="REF", help="A commit, tag or branch of git, or a folder."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="The contracts to check; else those of this checkout.")
    ] = None,
) -> None:
    """Compare the versions of each event, and every contract with an older state of itself.

    Ends with an error when a change breaks what others rely on.
    """
    from conf.contracts import FOLDER

    new = parse(read_folder(folder or FOLDER))
    changes = list(version_changes(new))
    if against is not None:
        place = Path(against)
        old = read_folder(place) if place.is_dir() else read_git(FOLDER, against)
        changes += file_changes(parse(old, f", as {against} has it,"), new)
    lines = [(f"{file}: {c.path} {c.sentence}", c.breaking) for file, c in changes]
    for line in (line for line, breaking in lines if not breaking):
        console().print(line, markup=False, highlight=False, soft_wrap=True)
    if broken := [f"- {line}" for line, breaking in lines if breaking]:
        count = f"{len(broken)} change{'s' if len(broken) > 1 else ''}"
        raise ContractError(f"{count} would break a contract:\n" + "\n".join(broken))
    console().print(f"{len(new)} contracts: no change breaks one.", highlight=False)


def parse(files: Mapping[str, str], whose: str = "") -> Contracts:
    """The contracts in files: name -> text.

    Raises:
        ContractError: a file is no contract.
    """
    from conf.contracts import event_version, read_event_schema
    from conf.contracts.odcs import SUFFIX, read_odcs

    contracts: dict[str, Schema | OpenDataContractStandard] = {}
    for name, text in files.items():
        if name.endswith(SUFFIX):
            contracts[name] = read_odcs(text, name + whose)
        elif event_version(name):
            contracts[name] = read_event_schema(text, name + whose)
        else:
            raise ContractError(f"{name} is no contract by its name: not event.v1.json, say.")
    return contracts


def version_changes(contracts: Contracts) -> Iterator[tuple[str, Change]]:
    """What each version of an event changes over the one before."""
    from conf.contracts import event_version

    events = sorted((version, file) for file in contracts if (version := event_version(file)))
    for (before, older), (after, newer) in pairwise(events):
        if before[0] == after[0]:
            changes = _compare(contracts[older], contracts[newer], ["schema_version"])
            yield from ((newer, change) for change in changes)


def file_changes(old: Contracts, new: Contracts) -> Iterator[tuple[str, Change]]:
    """What became of each old contract."""
    from conf.contracts.compare import Change

    for file, contract in old.items():
        if file in new:
            yield from ((file, change) for change in _compare(contract, new[file]))
        else:
            sentence = "was removed: nobody can keep to it any more."
            yield file, Change("the contract", sentence, breaking=True)


def _compare(
    old: Schema | OpenDataContractStandard,
    new: Schema | OpenDataContractStandard,
    ignored: Collection[str] = (),
) -> list[Change]:
    from conf.contracts.compare import compare_schemas
    from conf.contracts.odcs import compare_odcs

    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return compare_schemas(old, new, ignored)
    if isinstance(old, Mapping) or isinstance(new, Mapping):
        raise TypeError("two kinds of contract under one name")
    return compare_odcs(old, new)


def read_folder(folder: Path) -> dict[str, str]:
    """The contracts in a folder.

    Raises:
        ContractError: there are none.
    """
    if not folder.is_dir():
        raise ContractError(f"{folder} is no folder.")
    try:
        files = {f.name: f.read_text(encoding="utf-8") for f in sorted(folder.iterdir()) if _is(f)}
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"The contracts in {folder} cannot be read: {error}.") from None
    if not files:
        raise ContractError(f"{folder} holds no contract: no *.json and no *.odcs.yaml.")
    return files


def _is(file: Path) -> bool:
    from conf.contracts.odcs import SUFFIX

    return file.suffix == ".json" or file.name.endswith(SUFFIX)


def read_git(folder: Path, ref: str) -> dict[str, str]:
    """The contracts as a commit has them.

    Args:
        folder: where they are now, in the checkout.
        ref: a commit, tag or branch.

    Raises:
        ContractError: no git, no checkout, no such commit, or it has no contracts.
    """
    commit = _git(
        folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"
    )
    if commit is None:
        raise ContractError(
            f"{ref} is neither a folder nor a commit, tag or branch of this checkout."
        )
    names = (_git(folder, "ls-tree", "--name-only", commit.strip(), "./") or "").splitlines()
    files = {
        n: _git(folder, "show", f"{commit.strip()}:./{n}") or "" for n in names if _is(Path(n))
    }
    if not files:
        raise ContractError(f"{ref} has no contracts.")
    return files


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, or None when it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=False, text=True
        )
    except FileNotFoundError:
        raise ContractError("git is not installed: compare with a folder instead.") from None
    return done.stdout if done.returncode == 0 else None
