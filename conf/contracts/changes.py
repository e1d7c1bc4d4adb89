"""Changes between versions of an event, and between two states of the contracts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise

from conf.contracts import event_version
from conf.contracts.compare import Change, compare_schemas
from conf.contracts.files import Contract, Contracts
from conf.contracts.odcs import compare_odcs


def version_changes(contracts: Contracts) -> Iterator[tuple[str, Change]]:
    """File and change, for each version of an event and the one before it."""
    events = sorted((version, file) for file in contracts if (version := event_version(file)))
    for (before, older), (after, newer) in pairwise(events):
        if before[0] == after[0]:
            changes = _compare(contracts[older], contracts[newer], ["schema_version"])
            yield from ((newer, change) for change in changes)


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
