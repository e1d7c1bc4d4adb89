"""Contracts of a folder or of a commit of git, and changes between them."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from open_data_contract_standard.model import OpenDataContractStandard

from conf.contracts import Schema, event_version, read_event_schema
from conf.contracts.compare import Change, compare_schemas
from conf.contracts.odcs import SUFFIX, compare_odcs, read_odcs
from conf.contracts.order_event import NEW_FORM
from conf.errors import ContractError

Contract = Schema | OpenDataContractStandard
Contracts = Mapping[str, Contract]


def parse(files: Mapping[str, str], whose: str = "") -> Contracts:
    """Contracts by file name.

    Raises:
        ContractError: a file is no contract.
    """
    return {name: _parse(name, text, name + whose) for name, text in files.items()}


def _parse(name: str, text: str, title: str) -> Contract:
    if name.endswith(SUFFIX):
        return read_odcs(text, title)
    if event_version(name):
        return read_event_schema(text, title)
    raise ContractError(f"{name} is no contract by its name, which is not like event.v1.json.")


def read_folder(folder: Path) -> dict[str, str]:
    """File name -> text of the contracts in a folder.

    Raises:
        ContractError: there are none.
    """
    if not folder.is_dir():
        raise ContractError(f"{folder} is no folder.")
    try:
        paths = [path for path in sorted(folder.iterdir()) if _is_contract(path.name)]
        files = {path.name: path.read_text(encoding="utf-8") for path in paths}
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"The contracts in {folder} cannot be read: {error}.") from None
    if not files:
        raise ContractError(f"{folder} holds no contract: no *.json and no *.odcs.yaml.")
    return files


def read_git(folder: Path, ref: str) -> dict[str, str]:
    """File name -> text of the contracts in a commit.

    Args:
        folder: their folder in the checkout.
        ref: a commit, tag or branch.

    Raises:
        ContractError: no git, no checkout, no such commit, or it has no contracts.
    """
    name = f"{ref}^{{commit}}"
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", name).strip()
    if not commit:
        raise ContractError(
            f"{ref} is neither a folder nor a commit, tag or branch of this checkout."
        )
    names = filter(_is_contract, _git(folder, "ls-tree", "--name-only", commit, "./").splitlines())
    files = {name: _git(folder, "show", f"{commit}:./{name}") for name in names}
    if not files:
        raise ContractError(f"{ref} has no contracts.")
    return files


def _is_contract(name: str) -> bool:
    return name.endswith((".json", SUFFIX))


def _git(folder: Path, *arguments: str) -> str:
    """Output of git; empty when it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=False, text=True
        )
    except FileNotFoundError:
        raise ContractError("git is not installed: compare with a folder instead.") from None
    return done.stdout if done.returncode == 0 else ""


def version_changes(contracts: Contracts) -> Iterator[tuple[str, Change]]:
    """File and change, for each version of an event and the one before it."""
    events = sorted((version, file) for file in contracts if (version := event_version(file)))
    for (before, older), (after, newer) in pairwise(events):
        if before[0] == after[0]:
            yield from ((newer, c) for c in _new_version(contracts[older], contracts[newer]))


def _new_version(older: Contract, newer: Contract) -> list[Change]:
    """Changes since the version before; none breaks where the newer one is a form of its own.

    Each event is validated by its own version, and readers choose by it.
    """
    changes = _compare(older, newer, ["schema_version"])
    is_new_form = isinstance(newer, Mapping) and newer.get("$comment") == NEW_FORM
    return [replace(c, breaking=False) for c in changes] if is_new_form else changes


def file_changes(old: Contracts, new: Contracts) -> Iterator[tuple[str, Change]]:
    """File and change, for each old contract."""
    for file, contract in old.items():
        if file in new:
            yield from ((file, change) for change in _compare(contract, new[file]))
        else:
            sentence = "was removed: nobody can keep to it any more."
            yield file, Change("the contract", sentence, breaking=True)


def _compare(old: Contract, new: Contract, ignored: Collection[str] = ()) -> list[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return compare_schemas(old, new, ignored)
    if isinstance(old, Mapping) or isinstance(new, Mapping):
        raise TypeError("two kinds of contract under one name")
    return compare_odcs(old, new)
