"""The parent of Spark's Python workers: imports once what every one of them needs, then forks.

Without it each new worker runs its own imports (seconds of CPU), in the middle of a micro-batch.
`spark.python.daemon.module` names it. Two things that Spark does for each task would cost more than
the tasks of small batches (docs/adr/0008):

- It puts the jars of `spark.jars.packages` on Python's path, and Python reads their tables of
  contents again: tens of thousands of entries. Jars contain no Python, so none is opened.
- It collects garbage. Modules imported before the fork are frozen: the collector skips them.
"""

import gc
import sys
from zipimport import zipimporter

import pandas  # noqa: F401
import pyarrow  # noqa: F401
import pyspark.sql.pandas.serializers
import pyspark.sql.streaming.stateful_processor_util
import pyspark.worker  # noqa: F401
from pyspark import daemon

import streaming.runtime.tasks
import streaming.sources.kafka  # noqa: F401


def _zip_but_no_jar(path: str) -> zipimporter:
    """A path hook in place of `zipimporter`."""
    if path.endswith(".jar"):
        raise ImportError(f"{path} holds no Python")
    return zipimporter(path)


if __name__ == "__main__":
    sys.path_hooks[sys.path_hooks.index(zipimporter)] = _zip_but_no_jar
    sys.path_importer_cache.clear()
    gc.freeze()
    daemon.manager()  # type: ignore[no-untyped-call]
