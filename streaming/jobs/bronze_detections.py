"""Detections topic -> bronze.detections: every message as received, for replay and restatement.

Key (topic, partition, position); guarded append, exactly-once in effect.
"""

from streaming.lake.tables import BRONZE_DETECTIONS
from streaming.runtime.submit import submit
from streaming.steps import VALIDATE_DETECTIONS
from streaming.stream import DETECTIONS, Batch, Stream


def write(batch: Batch) -> None:
    """Append as received."""
    batch.append(BRONZE_DETECTIONS, batch.rows)


STREAM = Stream(
    "bronze_detections",
    source=DETECTIONS,
    steps=(VALIDATE_DETECTIONS,),
    pace=20,
    write=write,
)

if __name__ == "__main__":
    submit(STREAM)
