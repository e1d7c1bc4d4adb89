"""What the demo plays: footage to a camera, and how far its streams are warm."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cli.processes import STOP_SECONDS, Child, process, require_alive, stream_states
from conf.errors import StorelakeError
from conf.settings import Settings
from inference_service.footage import draw_clip, fetch_clip


class DemoError(StorelakeError):
    """The demo could not go on; the message says where to look."""


def warmed_up(settings: Settings) -> bool:
    """True when every stream has finished a batch since it started."""
    states = stream_states(settings)
    return bool(states) and all(s["finished_batches"] > 0 for s in states.values())


def choose_footage(settings: Settings, video: Path | None) -> tuple[Path, str]:
    """The video to play and one sentence on what it is."""
    if video is not None:
        if not video.is_file():
            raise DemoError(f"{video} does not exist; --video takes a file that OpenCV can read")
        return video, f"your own: {video.name}"
    clip = fetch_clip(settings.cache_dir)
    if clip is not None:
        return clip, "vtest.avi of Debian's opencv-doc: people filmed by a fixed camera"
    drawn = settings.var_dir / "demo" / "drawn.mp4"
    drawn.parent.mkdir(parents=True, exist_ok=True)
    draw_clip(drawn, seconds=30, fps=10, seed=1)
    return drawn, "drawn by the demo, because Debian's opencv-doc cannot be had here"


def start_camera(
    stack: ExitStack, settings: Settings, camera: str, footage: Path, seconds: float
) -> tuple[Child, Path]:
    """Play the footage to a camera at 5 frames a second; returns the child and its summary file."""
    summary = settings.var_dir / "demo" / "camera.json"
    summary.parent.mkdir(parents=True, exist_ok=True)
    summary.unlink(missing_ok=True)
    arguments = ["infer", "--camera", camera, "--source", str(footage), "--realtime", "--loop"]
    arguments += ["--fps", "5", "--seconds", str(seconds), "--summary", str(summary)]
    return stack.enter_context(process("camera", arguments, settings)), summary


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
