"""Spark Structured Streaming: jobs, their transforms, and the connectors at the rim."""

from conf.arrow import allocate_by_c_library

allocate_by_c_library()  # here, since PyArrow chooses when it is imported
