"""Detections topic -> silver.detections (one row per object per frame); bad ones to quarantine.

Key (camera_id, run_id, frame_index, track_id); guarded appends, exactly-once in effect.
"""

from pyspark.sql import DataFrame

from streaming.runner import Batch, Context, Stream, submit
from streaming.tables import QUARANTINE_DETECTIONS, SILVER_DETECTIONS
from streaming.transforms.quarantine import split_judged
from streaming.transforms.silver_detections import judge_detections, to_silver_detections

NAME = "silver_detections"


def build(context: Context) -> DataFrame:
    """Source rows, parsed, judged, one row per object; a rejected message stays one row."""
    judge = judge_detections(context.stores, context.settings.streams.max_future_skew)
    topic = context.settings.kafka.detections
    return context.read_topics(NAME, topic).transform(judge).transform(to_silver_detections)


def write(batch: Batch) -> None:
    """Objects to silver, rejected messages to quarantine."""
    good, rejected = split_judged(batch.rows)
    batch.append(SILVER_DETECTIONS, good)
    batch.append(QUARANTINE_DETECTIONS, rejected)


STREAM = Stream(NAME, build, write)

if __name__ == "__main__":
    submit(STREAM)
