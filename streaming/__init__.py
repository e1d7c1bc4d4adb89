"""Spark Structured Streaming: jobs, transforms and validation, sources, sinks and the lake."""

from conf.vendor import allocate_by_c_library

allocate_by_c_library()  # here, since PyArrow chooses when it is imported
