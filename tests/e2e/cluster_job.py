"""The job of the cluster test: report where executors have their code, then run streams.

Arguments: the file for the answers, then the names of the streams.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from conf.settings import load_settings
from streaming.jobs import find_streams
from streaming.runtime.session import build_session
from streaming.runtime.submit import submit


def whereabouts(_: Iterable[int]) -> Iterator[dict[str, object]]:
    import confluent_kafka  # noqa: PLC0415 - on the executors
    import msgspec  # noqa: PLC0415

    import streaming.sources.kafka as source  # noqa: PLC0415
    import streaming.transforms.footfall as state  # noqa: PLC0415
    import udfs.geometry as function  # noqa: PLC0415

    modules = (confluent_kafka, msgspec, source, state, function)
    yield {
        "folder": str(Path.cwd()),
        "modules": [str(Path(str(module.__file__)).resolve()) for module in modules],
        "path": [str(Path(place or ".").resolve()) for place in sys.path],
        "executor": os.getppid(),
    }


def main(answers: str, *names: str) -> None:
    spark = build_session(load_settings(), "storelake:" + ",".join(names))
    places = spark.sparkContext.parallelize(range(2), 2).mapPartitions(whereabouts).collect()
    Path(answers).write_text(json.dumps(places), encoding="utf-8")
    submit(*find_streams(names))


if __name__ == "__main__":
    main(*sys.argv[1:])
