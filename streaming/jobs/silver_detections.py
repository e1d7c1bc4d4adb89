"""Detections topic -> silver.detections (one row per object per frame); bad ones to quarantine.

Key (camera_id, run_id, frame_index, captured_at, track_id, box); guarded appends, exactly-once in
effect.
"""

from streaming.lake.tables import QUARANTINE_DETECTIONS, SILVER_DETECTIONS
from streaming.runtime.submit import submit
from streaming.steps import VALIDATE_DETECTIONS
from streaming.stream import DETECTIONS, Batch, Stream
from streaming.transforms.quarantine import split_validated
from streaming.transforms.silver_detections import count_labels, to_silver_detections


def write(batch: Batch) -> None:
    """Rejected messages first, so that positions in silver imply those in quarantine."""
    good, rejected = split_validated(batch.rows)
    batch.metrics.dead_letters(batch.stream, batch.append(QUARANTINE_DETECTIONS, rejected))
    objects = to_silver_detections(good)
    batch.append(SILVER_DETECTIONS, objects)
    for row in count_labels(objects).to_pylist():
        batch.metrics.objects(batch.stream, row["camera_id"], row["label"], row["objects"])


STREAM = Stream(
    "silver_detections",
    source=DETECTIONS,
    steps=(VALIDATE_DETECTIONS,),
    pace=20,
    write=write,
    keeps_rejected=True,
)

if __name__ == "__main__":
    submit(STREAM)
