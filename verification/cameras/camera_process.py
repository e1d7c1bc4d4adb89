"""One camera under way: `storelake infer` beside us, with the totals that it leaves."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verification import processes
from verification.deployment import House

STOP_SECONDS = 120.0  # to publish what waits, on a busy machine


@dataclass(frozen=True)
class Playing:
    """A child that plays a video as a camera."""

    camera_id: str
    child: processes.Child
    summary: Path
    house: House

    def ended(self) -> bool:
        """Whether it has come to its end.

        Raises:
            ProcessError: it failed.
        """
        code = self.child.poll()
        if code:
            processes.require_alive(self.child, self.camera_id, self.house.settings)
        return code is not None

    def totals(self) -> dict[str, Any]:
        """What it did, once it has ended; see `inference_service.service.Summary`."""
        return dict(json.loads(self.summary.read_text(encoding="utf-8")))


def play(
    stack: ExitStack, house: House, camera_id: str, video: Path, publisher: str, *options: str
) -> Playing:
    """Start playing a video as a camera; it is stopped with the stack."""
    summary = house.settings.var_dir / "run" / f"{camera_id}.summary.json"
    summary.unlink(missing_ok=True)
    arguments = ["infer", "--camera", camera_id, "--source", str(video), "--publisher", publisher]
    # One thread each: cameras share the cores. No metrics: they would share the port.
    environment = {
        **house.environment,
        "STORELAKE_INFERENCE__THREADS": "1",
        "STORELAKE_INFERENCE__METRICS_PORT": "0",
    }
    child = processes.process(
        camera_id,
        [*arguments, "--summary", str(summary), *options],
        house.settings,
        environment,
    )
    return Playing(camera_id, stack.enter_context(child), summary, house)
