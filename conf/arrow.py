"""How PyArrow allocates; to be set before the import of PyArrow."""

from __future__ import annotations

import os


def allocate_by_c_library() -> None:
    """Have Arrow take memory from the C library, unless the environment names another pool.

    Arrow's default pool keeps freed pages for each thread, and no other thread can give them back.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
