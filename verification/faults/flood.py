"""Ten times the load: memory is bounded, and the lag falls afterwards."""

from __future__ import annotations

import threading
from contextlib import suppress

import psutil

from infra.local.process import wait_until
from quality.order_observer import end_offsets
from verification.faults.deployment import SupervisedDeployment, now
from verification.faults.fault import Fired, Inject, require
from verification.processes import family

GROWTH = 1.25
"""Largest memory of the last third, as a multiple of the largest of the second third."""

MEBIBYTE = 2**20


def flood(seconds: float) -> Inject:
    """Ten times the orders and frames for so long, then wait until all of them have arrived.

    Args:
        seconds: of the load; at most as long again may pass until the lag is gone.
    """

    def inject(deployment: SupervisedDeployment) -> Fired:
        deployment.step(f"ten times the load for {seconds:.0f} s")
        memory, over = list[float](), threading.Event()
        root = require(deployment, "streams")

        def measure() -> None:
            while not over.wait(1.0):
                memory.append(_resident(root))

        watcher = threading.Thread(target=measure, daemon=True)
        watcher.start()
        try:
            deployment.load.flood(seconds)
        finally:
            over.set()
            watcher.join()
        since = now()
        left = _rest(deployment, seconds)
        third = max(1, len(memory) // 3)
        before, after = max(memory[third : 2 * third]), max(memory[2 * third :])
        broken = [left] if left else []
        if after > GROWTH * before:
            broken.append(f"memory grew from {before:.0f} to {after:.0f} MiB")
        more, crowd = deployment.load.orders[-1].sent, deployment.load.cameras[-1].frames
        observed = (
            f"{more.sent:,} order events and {len(crowd):,} frames more in {seconds:.0f} s; "
            f"memory of the streams {before:.0f}, then {after:.0f} MiB at most; lag gone after "
            f"{(now() - since).total_seconds():.0f} s"
        )
        return Fired(observed, now(), broken)

    return inject


def _resident(root: psutil.Process) -> float:
    """Memory of a process and its descendants (MiB), shared pages counted once (PSS)."""
    total = 0
    for one in family(root):
        with suppress(psutil.Error):
            total += one.memory_full_info().pss
    return total / MEBIBYTE


def _rest(deployment: SupervisedDeployment, seconds: float) -> str:
    """Wait until the streams are where the topics end now; what is left, or nothing."""
    kafka = deployment.settings.kafka
    ends = end_offsets(deployment.settings, (*kafka.order_topics, kafka.detections))
    last = {at: offset - 1 for at, offset in ends.items() if offset}
    wait_until(lambda: not deployment.behind(last), seconds, every=0.5)
    behind = deployment.behind(last)
    return f"behind {seconds:.0f} s after the end: {', '.join(behind)}" if behind else ""
