"""The parent of Spark's Python workers: imports once what every one of them needs, then forks.

Without it each new worker pays for its own imports (seconds of CPU), in the middle of a
micro-batch. Named by `spark.python.daemon.module`.
"""

import pandas  # noqa: F401
import pyarrow  # noqa: F401
import pyspark.sql.pandas.serializers
import pyspark.sql.streaming.stateful_processor_util
import pyspark.worker  # noqa: F401
from pyspark import daemon

import streaming.connectors.kafka
import streaming.transforms.footfall  # noqa: F401

if __name__ == "__main__":
    daemon.manager()  # type: ignore[no-untyped-call]
