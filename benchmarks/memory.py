"""Memory of the streams under large bad messages: `python -m benchmarks.memory --messages 20000`.

The streams run and are idle; then messages of 10 to 100 KB that fail a rule wait for them, half of
them no JSON at all. Reported is the memory of `storelake run` and all its processes (PSS, so that
shared pages count once): before, at most meanwhile, and at the end of a minute without messages.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Annotated

import psutil
import typer

from benchmarks import Out, fresh, notify, print_result
from benchmarks.drain import event
from infra.local.process import wait_until
from verification.backlog import fill_topic
from verification.deployment import Deployment
from verification.watch import number

GIVE_UP_SECONDS = 900
IDLE_SECONDS = 60
ROWS_SQL = "SELECT count(*) FROM dead_letters"
Megabytes = dict[str, int]


def bad_messages(count: int, seed: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of order events that fail a rule or are no JSON."""
    rng, now = random.Random(seed), datetime.now(timezone.utc)  # noqa: S311
    for index in range(count):
        key, value = event(index, now, rng)
        padding = "x" * rng.randrange(10_000, 100_000)
        body = json.loads(value)
        body["order"]["branch_id"] = padding
        yield key, json.dumps(body).encode() if index % 2 else padding.encode()


def memory(application: psutil.Process) -> Megabytes:
    """MB of the application by kind of process, and of all together."""
    found: dict[str, float] = defaultdict(float)
    for one in [application, *application.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            kind = "driver" if one == application else one.name().split()[0].rstrip("0123456789.")
            found[kind] += one.memory_full_info().pss / 1e6
    return {**{k: round(v) for k, v in found.items()}, "all": round(sum(found.values()))}


def under_bad_messages(deployment: Deployment, messages: int, rounds: int) -> dict[str, object]:
    """Send the messages in rounds, each once those before are written; the memory by round."""
    settings = deployment.settings
    with deployment.run_streams() as child:
        samples = [memory(psutil.Process(child.pid))]
        ends, size, wanted = list[Megabytes](), 0, number(settings, ROWS_SQL)

        def written() -> bool:
            samples.append(memory(psutil.Process(child.pid)))
            notify(f"{samples[-1]['all']} MB")
            return number(settings, ROWS_SQL) >= wanted

        for seed in range(rounds):
            waiting = bad_messages(messages // rounds, seed)
            size += fill_topic(settings, settings.kafka.order_created, waiting)
            wanted += messages // rounds
            deployment.require(written, GIVE_UP_SECONDS, "not written", alive=child)
            ends.append(samples[-1])
        wanted += 1  # nobody sends it: a minute of looks
        wait_until(written, IDLE_SECONDS, every=1.0)
        return {
            "bytes": size,
            "start_mb": samples[0],
            "most_mb": max(samples, key=lambda m: m["all"]),
            "rounds_mb": [end["all"] for end in ends],
            "end_mb": samples[-1],
        }


def main(
    messages: Annotated[int, typer.Option(min=10)] = 20_000,
    rounds: Annotated[int, typer.Option(min=1)] = 4,
    out: Out = None,
) -> None:
    """Measure once, in a fresh deployment, and print the JSON."""
    with fresh() as deployment:
        result = under_bad_messages(deployment, messages, rounds)
    print_result({"messages": messages, **result}, out)


if __name__ == "__main__":
    typer.run(main)
