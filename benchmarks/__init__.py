"""Repeatable measurements; each prints one JSON document, which names its machine."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from confluent_kafka import Producer

from conf.kafka import producer_config
from conf.settings import Settings, load_settings
from streaming.sinks.kafka_producer import produce
from verification.demo.report import versions
from verification.deployment import Deployment, fresh_deployment
from verification.processes import ProcessError, family

RESULTS = Path(__file__).parent / "results"
"""Result files at full size, which the documentation cites."""

Out = Annotated[Path | None, typer.Option(help="Also write the JSON here.")]


def notify(text: str, shown: list[str] = [""]) -> None:  # noqa: B006 - the last text
    """Progress: one line of a terminal; elsewhere a line for each new text."""
    if text == shown[0]:
        return
    shown[0] = text
    sys.stderr.write(f"\r{text}\033[K" if sys.stderr.isatty() else f"{text}\n")


@contextmanager
def fresh() -> Iterator[Deployment]:
    """Empty services on free ports, which are stopped and deleted at the end."""
    with fresh_deployment(load_settings(), "the benchmark", notify) as deployment:
        yield deployment


def timed(do: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def cpu_seconds(pid: int | None = None) -> dict[str, float]:
    """CPU seconds of a process (else our own) and its descendants, of those that ended, too.

    By kind of process: `driver` is the process itself, `jvm`, and the Python `workers` together.
    """
    root, spent = psutil.Process(pid), dict.fromkeys(("driver", "jvm", "workers"), 0.0)
    for one in family(root):
        with suppress(psutil.NoSuchProcess):
            kind = "driver" if one == root else "jvm" if "java" in one.name() else "workers"
            spent[kind] += sum(one.cpu_times()[:4])
    return spent


@contextmanager
def paused(process: psutil.Process) -> Iterator[None]:
    """A process and its descendants do nothing meanwhile."""
    members = family(process)
    for one in members:
        one.suspend()
    try:
        yield
    finally:
        for one in members:
            one.resume()


def fill_topic(settings: Settings, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> int:
    """Send (key, value) pairs to a topic; returns the bytes of the values."""
    producer, size = Producer(producer_config(settings.kafka)), 0
    for key, value in messages:
        produce(producer, topic, value, key)
        producer.poll(0)
        size += len(value)
    if producer.flush(60):
        raise ProcessError("Kafka did not take every message")
    return size


def print_result(result: dict[str, Any], out: Path | None) -> None:
    """Print the figures as JSON, with command, load and versions; write them to `out`, too."""
    words = sys.orig_argv[2:]  # without the interpreter and `-m`
    around = {
        "command": " ".join(words[: words.index("--out")] if "--out" in words else words),
        "load": psutil.getloadavg(),
        "machine": {"cores": psutil.cpu_count(), "system": platform.platform()},
        "versions": versions(),
    }
    text = json.dumps(result | around, indent=2) + "\n"
    sys.stdout.write(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")
