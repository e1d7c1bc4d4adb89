"""Detections topic -> bronze.detections: every message as received, for replay and restatement.

Key (topic, partition, position); guarded append, exactly-once in effect.
"""

from pyspark.sql import DataFrame

from streaming.runner import Batch, Context, Stream, submit
from streaming.tables import BRONZE_DETECTIONS

NAME = "bronze_detections"


def build(context: Context) -> DataFrame:
    """Source rows of the detections topic."""
    return context.read_topics(NAME, context.settings.kafka.detections)


def write(batch: Batch) -> None:
    """Append as received."""
    batch.append(BRONZE_DETECTIONS, batch.rows)


STREAM = Stream(NAME, build, write)

if __name__ == "__main__":
    submit(STREAM)
