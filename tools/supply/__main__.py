"""`python -m tools.supply COMMAND`: what `make licences`, `audit`, `sbom` and `secrets` run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from conf.errors import StorelakeError
from tools.supply import advisories, secrets
from tools.supply.installed import ROOT, installed
from tools.supply.licences import licence, not_allowed
from tools.supply.sbom import image_components, wheel_components, write


def main() -> None:
    """Exit with status 1 and one line for each finding."""
    parser = argparse.ArgumentParser(prog="python -m tools.supply", description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("licences", help="list licences; fail on one that is not allowed")
    one.add_argument("--quiet", action="store_true", help="list none")
    one.set_defaults(run=_licences)
    one = commands.add_parser("audit", help="fail on a component with a known advisory")
    one.add_argument("file", nargs="?", type=Path)
    one.set_defaults(run=_audit)
    one = commands.add_parser("sbom", help="write the SBOM of the wheel, or of an image")
    one.add_argument("out", type=Path)
    one.add_argument("--root", type=Path, help="root file system of an image")
    one.set_defaults(run=_sbom)
    one = commands.add_parser("secrets", help="fail on a secret in the checkout")
    one.add_argument("--accept", action="store_true", help="add what is found to the baseline")
    one.set_defaults(run=_secrets)
    arguments = parser.parse_args()
    try:
        faults: Sequence[str] = arguments.run(arguments)
    except StorelakeError as error:
        sys.exit(str(error))
    sys.exit("\n".join(faults) or None)


def _output(line: str) -> None:
    print(line)  # noqa: T201 - the output of a command


def _licences(arguments: argparse.Namespace) -> list[str]:
    present = installed()
    for name, one in () if arguments.quiet else sorted(present.items()):
        _output(f"{name:40} {one.version:16} {licence(one)}")
    return [f"licence not allowed: {fault}" for fault in not_allowed(present)]


def _audit(arguments: argparse.Namespace) -> list[str]:
    if arguments.file is None:
        _output("No advisories checked: `make audit ADVISORIES=FILE` reads OSV or pip-audit JSON.")
        return []
    records = advisories.read(arguments.file)
    present = installed()
    components = {("pypi", name, one.version) for name, one in present.items()}
    components |= {advisories.key(one.purl) for one in wheel_components() if one.purl}
    found = advisories.findings(records, components)
    _output(f"{len(records)} advisories, {len(components)} components, {len(found)} findings.")
    return [str(finding) for finding in found]


def _sbom(arguments: argparse.Namespace) -> list[str]:
    root = arguments.root
    components = image_components(root) if root else wheel_components()
    count = write(arguments.out.name.partition(".")[0], components, arguments.out)
    _output(f"{arguments.out}: {count} components")
    return []


def _secrets(arguments: argparse.Namespace) -> list[str]:
    if arguments.accept:
        secrets.accept(ROOT)
    return [f"secret in the checkout: {found}" for found in secrets.new_secrets(ROOT)]


if __name__ == "__main__":
    main()
