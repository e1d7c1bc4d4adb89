"""Variables that libraries read when they are imported; only `conf` touches the environment."""

from __future__ import annotations

import os
from pathlib import Path


def keep_ultralytics_at_home(cache_dir: Path) -> None:
    """Call before `import ultralytics`: no download, no installation, no file in the home folder.

    What the operator has set is left as it is.
    """
    folder = cache_dir / "ultralytics"
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (
        ("YOLO_OFFLINE", "true"),
        ("YOLO_AUTOINSTALL", "false"),
        ("YOLO_VERBOSE", "false"),
        ("YOLO_CONFIG_DIR", str(folder)),
    ):
        os.environ.setdefault(name, value)


def disable_great_expectations_analytics() -> None:
    """Call before `import great_expectations`: switch its analytics off."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
