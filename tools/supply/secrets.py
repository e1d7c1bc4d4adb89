"""Secrets in files, found by detect-secrets; `.secrets.baseline` has the examples that are none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from detect_secrets.core import baseline
from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

BASELINE = ".secrets.baseline"
SKIPPED = (BASELINE, "constraints.txt")
GENERATED = (".xz", ".onnx", ".png", ".lock")
LOCAL = {".git", ".venv", "var", "build", "__pycache__", ".mypy_cache", ".ruff_cache"}
"""Folders that are no part of the project."""


def files_of(root: Path) -> list[str]:
    """Paths that git tracks, and new ones that it does not ignore; of an archive, all but `LOCAL`.

    Args:
        root: folder of a checkout, or of its files without their history.
    """
    listing = ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    done = subprocess.run(listing, capture_output=True, text=True, check=False)
    paths = done.stdout.split("\0") if done.returncode == 0 else _all_files(root)
    wanted = (path for path in paths if path and path not in SKIPPED)
    return [path for path in wanted if not path.endswith(GENERATED) and (root / path).is_file()]


def _all_files(root: Path) -> Iterator[str]:
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name not in LOCAL]
        yield from (str((Path(folder) / file).relative_to(root)) for file in files)


def scan(root: Path, paths: Iterable[str], processors: int = 2) -> SecretsCollection:
    """Every secret in these files below `root`."""
    found = SecretsCollection(root=str(root))
    with default_settings():
        found.scan_files(*paths, num_processors=processors)
    return found


def new_secrets(root: Path) -> list[str]:
    """`path:line: kind` of each secret that the baseline does not have."""
    found = scan(root, files_of(root))
    file = root / BASELINE
    known = baseline.load(baseline.load_from_file(str(file))) if file.is_file() else ()
    accepted = {_identity(path, secret) for path, secret in known}
    new = ((p, s) for p, s in found if _identity(p, s) not in accepted)
    return sorted(f"{path}:{secret.line_number}: {secret.type}" for path, secret in new)


def accept(root: Path) -> None:
    """Write the baseline: everything that is found now is an example."""
    with default_settings():
        content = baseline.format_for_output(scan(root, files_of(root)))
    for path, secrets in content["results"].items():
        for secret in secrets:
            secret["filename"] = path  # the library's has the folder of this machine
    baseline.save_to_file(content, str(root / BASELINE))


def _identity(path: str, secret: PotentialSecret) -> tuple[str, str, str]:
    return path, secret.type, secret.secret_hash
