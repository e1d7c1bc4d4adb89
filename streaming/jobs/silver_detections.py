"""Detections topic -> silver.detections (one row per object per frame); bad ones to quarantine.

Key (camera_id, run_id, frame_index, track_id); guarded appends, exactly-once in effect.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from streaming.runner import Batch, Context, Stream, submit
from streaming.tables import QUARANTINE_DETECTIONS, SILVER_DETECTIONS
from streaming.transforms.quarantine import to_quarantine
from streaming.transforms.silver_detections import judge_detections, to_silver_detections

NAME = "silver_detections"


def build(context: Context) -> DataFrame:
    """Source rows, parsed and judged."""
    judge = judge_detections(context.stores, context.settings.streams.max_future_skew)
    return context.read_topics(NAME, context.settings.kafka.detections).transform(judge)


def write(batch: Batch) -> None:
    """Objects to silver, rejected messages to quarantine."""
    judged = batch.df.persist()
    try:
        batch.lake.append(
            SILVER_DETECTIONS, judged.transform(to_silver_detections), NAME, batch.id
        )
        if not judged.where(F.size("rules") > 0).isEmpty():
            rejected = judged.transform(to_quarantine)
            batch.lake.append(QUARANTINE_DETECTIONS, rejected, NAME, batch.id)
    finally:
        judged.unpersist()


STREAM = Stream(NAME, build, write)

if __name__ == "__main__":
    submit(STREAM)
