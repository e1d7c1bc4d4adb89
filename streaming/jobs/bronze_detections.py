"""Detections topic -> bronze.detections: every message as received, for replay and restatement.

Key (topic, partition, position); guarded append, exactly-once in effect.
"""

from streaming.lake.tables import BRONZE_DETECTIONS
from streaming.runner import submit
from streaming.shared_sources import DETECTIONS
from streaming.stream import Batch, Stream


def write(batch: Batch) -> None:
    """Append as received."""
    batch.append(BRONZE_DETECTIONS, batch.rows)


STREAM = Stream("bronze_detections", DETECTIONS, write)

if __name__ == "__main__":
    submit(STREAM)
