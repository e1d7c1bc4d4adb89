"""Spark Structured Streaming: jobs, their transforms, and the connectors at the rim."""

import os

# Before PyArrow is imported, which chooses its pool then: `streaming.memory` says why.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # noqa: TID251 - set, not read
