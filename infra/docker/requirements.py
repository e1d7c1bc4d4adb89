"""Print what pyproject.toml requests, and the extras that are named, for `pip install -r`.

pip installs dependencies only together with the project, whose every change would then cost a
download of all of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tomllib

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
wanted = [*project["dependencies"]]
for extra in sys.argv[1:]:
    wanted += project["optional-dependencies"][extra]
print("\n".join(wanted))  # noqa: T201 - its purpose
