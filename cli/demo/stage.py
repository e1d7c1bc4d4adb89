"""Starts what the demo needs, runs it for a while, and stops what it started, in order."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from cli.demo.watch import wait_until
from conf.errors import StorelakeError
from conf.settings import Settings
from inference_service.footage import draw_clip, fetch_clip

STOP_SECONDS = 60.0


class DemoError(StorelakeError):
    """The demo could not go on; the message says where to look."""


@contextmanager
def process(
    name: str, arguments: list[str], settings: Settings
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `storelake <arguments>` beside us, its output in <var>/logs; SIGTERM at the end."""
    log = settings.var_dir / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        # Its own session: Ctrl-C reaches us, and we stop it in order.
        child = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield child
        finally:
            stop(child)


def stop(child: subprocess.Popen[bytes]) -> int:
    """End a child cleanly, and by force after a minute; returns its exit code."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        return child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def require_alive(child: subprocess.Popen[bytes], name: str, settings: Settings) -> None:
    """Raise `DemoError` with the end of its log when the child has died."""
    if child.poll() is not None:
        log = settings.var_dir / "logs" / f"{name}.log"
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise DemoError(f"{name} ended with exit code {child.returncode}: {' | '.join(tail)}")


def stream_states(settings: Settings) -> dict[str, Any]:
    """What the Spark application says of its streams; empty while it does not run."""
    with suppress(FileNotFoundError, json.JSONDecodeError):
        text = (settings.var_dir / "run" / "streams.json").read_text(encoding="utf-8")
        return dict(json.loads(text)["streams"])
    return {}


def start_streams(
    stack: ExitStack, settings: Settings, tell: Callable[[str], None]
) -> subprocess.Popen[bytes]:
    """Start every stream in one Spark application; returns when all queries are active."""
    child = stack.enter_context(process("streams", ["run"], settings))

    def active() -> bool:
        require_alive(child, "streams", settings)
        states = stream_states(settings)
        up = sum(1 for s in states.values() if s["ready"])
        tell(f"{up} of {len(states) or 7} streams")
        return bool(states) and up == len(states)

    if not wait_until(active, 180):
        raise DemoError(f"the streams are not up after 180 s; see {settings.var_dir}/logs")
    return child


def start_gateway(stack: ExitStack, settings: Settings) -> subprocess.Popen[bytes]:
    """Start the HTTP gateway; returns it when it says that it is ready."""
    child = stack.enter_context(process("gateway", ["gateway"], settings))
    url = f"http://{settings.gateway.host}:{settings.gateway.port}/ready"

    def ready() -> bool:
        require_alive(child, "gateway", settings)
        with suppress(httpx.TransportError):
            return httpx.get(url, timeout=2).status_code == 200
        return False

    if not wait_until(ready, 60):
        raise DemoError(f"the gateway is not ready after 60 s; see {settings.var_dir}/logs")
    return child


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
) -> tuple[subprocess.Popen[bytes], Path]:
    """Play the footage to a camera at 5 frames a second; returns the child and its summary file."""
    summary = settings.var_dir / "demo" / "camera.json"
    summary.parent.mkdir(parents=True, exist_ok=True)
    summary.unlink(missing_ok=True)
    arguments = ["infer", "--camera", camera, "--source", str(footage), "--realtime", "--loop"]
    arguments += ["--fps", "5", "--seconds", str(seconds), "--summary", str(summary)]
    return stack.enter_context(process("camera", arguments, settings)), summary


def camera_summary(
    child: subprocess.Popen[bytes], summary: Path, settings: Settings
) -> dict[str, Any]:
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
