"""Licences of installed distributions as SPDX expressions, and which of them are allowed where."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import Distribution

from license_expression import AND, OR, ExpressionError, LicenseSymbol, get_spdx_licensing

from tools.supply.installed import SHIPPED, project_requirements, required

SPDX = get_spdx_licensing()
PERMISSIVE = frozenset(
    ["0BSD", "AFL-2.1", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "MIT"]
) | {"BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "LicenseRef-Public-Domain", "MIT-0", "MIT-CMU"}
PERMISSIVE |= {"PSF-2.0", "Python-2.0", "Unlicense", "Zlib"}
WEAK_COPYLEFT = frozenset(("LGPL-2.1-or-later", "LGPL-3.0-only", "MPL-2.0"))
SHIPPABLE = PERMISSIVE | WEAK_COPYLEFT
PROGRAMS = SHIPPABLE | {"GPL-2.0-only", "GPL-3.0-only"}
"""Of the extra `dev`: programs that are run, never linked to or shipped."""
YOLO = SHIPPABLE | {"AGPL-3.0-only", "AGPL-3.0-or-later", "LicenseRef-NVIDIA-Proprietary"}

ALIASES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License v2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "DFSG approved": "",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-2.1-or-later",
    "GPL-3.0": "GPL-3.0-only",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
    "Public Domain": "LicenseRef-Public-Domain",
    "Python Software Foundation License": "PSF-2.0",
}
"""Trove classifiers and free text of metadata -> SPDX; an empty one adds nothing."""
STATED_ELSEWHERE = {
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",  # metadata without code
    "docutils": "LicenseRef-Public-Domain AND BSD-2-Clause",  # GPL: a mode for Emacs, not in it
}
"""Distributions whose metadata lacks the licence of their files, or has one too many."""


def licence(distribution: Distribution) -> str:
    """SPDX expression; the metadata's own text where it has none, empty where it has no text."""
    metadata = distribution.metadata
    name = metadata["Name"].lower()
    stated = metadata.get_all("License-Expression") or []
    if name in STATED_ELSEWHERE or stated:
        return STATED_ELSEWHERE.get(name) or str(stated[0])
    lines = metadata.get_all("Classifier") or []
    stated = [line.split(" :: ")[-1] for line in lines if line.startswith("License ::")]
    stated = [text for text in stated if text != "OSI Approved"]
    stated = stated or [
        text.partition("\n")[0].strip() for text in metadata.get_all("License") or []
    ]
    return " AND ".join(filter(None, dict.fromkeys(ALIASES.get(text, text) for text in stated)))


def allows(allowed: frozenset[str], expression: str) -> bool:
    """Whether a licence that one may choose from the expression is allowed; unknown text is not."""
    try:
        return bool(expression) and _allows(allowed, SPDX.parse(expression))
    except ExpressionError:
        return False


def _allows(allowed: frozenset[str], parsed: LicenseSymbol | AND | OR) -> bool:
    if isinstance(parsed, OR):
        return any(_allows(allowed, one) for one in parsed.args)
    if isinstance(parsed, AND):
        return all(_allows(allowed, one) for one in parsed.args)
    return str(parsed) in allowed


def not_allowed(present: Mapping[str, Distribution]) -> list[str]:
    """One sentence for each distribution whose licence is not allowed where it is required."""
    shipped = required(present, project_requirements(SHIPPED))
    dev = required(present, project_requirements(["dev"])) - shipped
    yolo = required(present, project_requirements(["yolo"])) - shipped
    faults = []
    for name, distribution in sorted(present.items()):
        allowed = SHIPPABLE
        allowed |= (PROGRAMS if name in dev else SHIPPABLE) | (YOLO if name in yolo else SHIPPABLE)
        if not allows(allowed, expression := licence(distribution)):
            faults.append(f"{name} {distribution.version}: {expression or 'no licence stated'}")
    return faults
