"""Secrets in files, found by detect-secrets; `.secrets.baseline` has the examples that are none."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from detect_secrets.core import baseline
from detect_secrets.core.potential_secret import PotentialSecret
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import default_settings

from conf.errors import StorelakeError

BASELINE = ".secrets.baseline"
SKIPPED = (BASELINE, "constraints.txt")
GENERATED = (".xz", ".onnx", ".png", ".lock")


def tracked_files(root: Path) -> list[str]:
    """Paths that git tracks, and new ones that it does not ignore.

    Raises:
        StorelakeError: the folder is no checkout.
    """
    listing = ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    done = subprocess.run(listing, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StorelakeError(f"The secret scan needs a git checkout: {done.stderr.strip()}")
    paths = [path for path in done.stdout.split("\0") if path and path not in SKIPPED]
    return [path for path in paths if not path.endswith(GENERATED) and (root / path).is_file()]


def scan(root: Path, paths: Iterable[str], processors: int = 2) -> SecretsCollection:
    """Every secret in these files below `root`."""
    found = SecretsCollection(root=str(root))
    with default_settings():
        found.scan_files(*paths, num_processors=processors)
    return found


def new_secrets(root: Path) -> list[str]:
    """`path:line: kind` of each secret that the baseline does not have."""
    found = scan(root, tracked_files(root))
    file = root / BASELINE
    known = baseline.load(baseline.load_from_file(str(file))) if file.is_file() else ()
    accepted = {_identity(path, secret) for path, secret in known}
    new = ((p, s) for p, s in found if _identity(p, s) not in accepted)
    return sorted(f"{path}:{secret.line_number}: {secret.type}" for path, secret in new)


def accept(root: Path) -> None:
    """Write the baseline: everything that is found now is an example."""
    with default_settings():
        content = baseline.format_for_output(scan(root, tracked_files(root)))
    for path, secrets in content["results"].items():
        for secret in secrets:
            secret["filename"] = path  # the library's has the folder of this machine
    baseline.save_to_file(content, str(root / BASELINE))


def _identity(path: str, secret: PotentialSecret) -> tuple[str, str, str]:
    return path, secret.type, secret.secret_hash
