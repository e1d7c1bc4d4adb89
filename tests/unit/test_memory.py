"""The memory of a process after large batches: what they freed is returned to the system."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BATCHES = """
import io, random, sys
from concurrent.futures import ThreadPoolExecutor
import psutil
if sys.argv[1] == "given back":
    from streaming.runtime.memory import FreedMemory
import pyarrow as pa, pyarrow.parquet as pq

if sys.argv[1] == "given back":
    memory = FreedMemory(pause=0)
sinks = ThreadPoolExecutor(4)  # kept alive: only a thread itself can give back its memory
rng, kept = random.Random(1), []

def sink(table):
    for part in table.to_batches(max_chunksize=50):
        rows = part.to_pylist()
    pq.write_table(table, io.BytesIO())

def batch():
    values = [b"x" * rng.randrange(10_000, 100_000) for _ in range(400)]
    table = pa.table({"value": pa.array(values, pa.binary())})
    for one in [sinks.submit(sink, table) for _ in range(4)]:
        one.result()
    if sys.argv[1] == "given back":
        memory.give_back()  # while the rows are still there
    kept.append(bytes(20_000))  # what a batch leaves behind for good: it holds no page but its own

start = psutil.Process().memory_info().rss
for _ in range(10):
    batch()
    if sys.argv[1] == "given back":
        memory.give_back()
print((psutil.Process().memory_info().rss - start) // 1_000_000)
"""


def megabytes_kept(how: str) -> int:
    """Growth of a process over 10 batches of 22 MB each."""
    done = subprocess.run(
        [sys.executable, "-c", BATCHES, how],
        env={k: v for k, v in os.environ.items() if not k.startswith(("ARROW_", "MALLOC_"))},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_a_process_gives_back_what_large_batches_have_freed() -> None:
    assert megabytes_kept("given back") < 130
    assert megabytes_kept("kept") > 200
