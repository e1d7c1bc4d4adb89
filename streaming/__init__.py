"""Spark Structured Streaming: jobs, their transforms, and the connectors at the rim."""

from conf.arrow import allocate_by_c_library

<<<<<<< HEAD
# Before PyArrow is imported, which chooses its pool then: `streaming.memory` says why.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # noqa: TID251 - set, not read
=======
allocate_by_c_library()  # here, since PyArrow chooses when it is imported
>>>>>>> brokers
