"""Settings under their former names, which work until the next release with a warning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

RENAMED = {
    "keeper": "supervisor",
    "streams__settle_seconds": "streams__interval_seconds",
    "streams__copy_seconds": "streams__replicate_seconds",
}
"""Former name -> name, from the root of the tree; of a branch or of one setting."""

log = logging.getLogger(__name__)


def rename_variables(variables: Mapping[str, str | None], prefix: str) -> dict[str, str | None]:
    """Variables under their current names; the current name wins where both are set.

    Args:
        variables: by lower-case names.
        prefix: of all variables of the product, in lower case.
    """
    renamed: dict[str, str | None] = {}
    for former, value in variables.items():
        name = _current(former.removeprefix(prefix)) if former.startswith(prefix) else None
        if name is None:
            renamed[former] = value
        elif f"{prefix}{name}" not in variables:
            _warn(former.upper(), f"{prefix}{name}".upper())
            renamed[f"{prefix}{name}"] = value
    return renamed


def _current(former: str) -> str | None:
    for old, new in RENAMED.items():
        if former == old or former.startswith(f"{old}__"):
            return new + former.removeprefix(old)
    return None


def rename_tree(tree: dict[str, Any]) -> dict[str, Any]:
    """A tree of values under their current names; the current name wins where both are set."""
    for former, name in RENAMED.items():
        *path, old = former.split("__")
        new = name.rpartition("__")[2]
        branch: Any = tree
        for step in path:
            branch = branch.get(step) if isinstance(branch, dict) else None
        if isinstance(branch, dict) and old in branch:
            _warn(former.replace("__", "."), name.replace("__", "."))
            value, present = branch.pop(old), branch.get(new)
            if isinstance(value, dict) and isinstance(present, dict):
                present = {**value, **present}
            branch[new] = value if present is None else present
    return tree


def _warn(former: str, name: str) -> None:
    log.warning("%s is now %s: the former name works until the next release", former, name)
