"""Libraries: where they are installed, and variables that they read when they are imported."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path


def package_folder(name: str) -> Path | None:
    """The folder of an installed package, found without importing it; None where it is missing."""
    spec = find_spec(name)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


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


def allocate_by_c_library() -> None:
    """Have Arrow take memory from the C library, unless the environment names another pool.

    Arrow's default pool keeps freed pages for each thread, and no other thread can give them back.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
