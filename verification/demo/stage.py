"""Cameras beside the demo, and how far its streams are warm."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from conf.errors import StorelakeError
from conf.settings import Settings
from infra.local.readiness import stream_states
from verification.processes import STOP_SECONDS, Child, process, require_alive


class DemoError(StorelakeError):
    """The demo could not go on; the message says where to look."""


def warmed_up(settings: Settings) -> bool:
    """True when every stream has finished a batch since it started."""
    states = stream_states(settings)
    return bool(states) and all(s["finished_batches"] > 0 for s in states.values())


class Films(Protocol):
    """What cameras play: `scene.Footage` or `scene.Shop`."""

    @property
    def films(self) -> Mapping[str, Path]:
        """Camera id -> video."""

    @property
    def detector(self) -> str | None:
        """What finds people in them; None: what the settings say."""

    @property
    def loop(self) -> bool:
        """Whether they begin again at their end."""


def start_cameras(
    stack: ExitStack, settings: Settings, scene: Films, seconds: float
) -> tuple[Child, Path]:
    """Play films to their cameras at 5 frames a second; returns the child and its summary file.

    One thread is enough for that, and leaves more to the streams: each further one costs a third.
    """
    summary = settings.var_dir / "demo" / "camera.json"
    summary.parent.mkdir(parents=True, exist_ok=True)
    summary.unlink(missing_ok=True)
    arguments = ["infer", "--realtime", "--fps", "5", "--summary", str(summary)]
    arguments += ["--publisher", settings.inference.publisher]
    if scene.detector:
        arguments += ["--detector", scene.detector]
    for camera, film in scene.films.items():
        arguments += ["--camera", camera, "--source", str(film)]
    if scene.loop:
        arguments += ["--loop", "--seconds", str(seconds)]
    threads = {"STORELAKE_INFERENCE__THREADS": str(settings.inference.threads or 1)}
    return stack.enter_context(process("camera", arguments, settings, threads)), summary


def camera_summary(child: Child, summary: Path, settings: Settings) -> dict[str, Any]:
    """Wait for the camera to end and read what it did."""
    code = child.wait(STOP_SECONDS)
    if code:
        require_alive(child, "camera", settings)
    return dict(json.loads(summary.read_text(encoding="utf-8")))


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self) -> float:
        """Seconds until now."""
        return round(time.monotonic() - self._start, 1)
