"""Test videos for cameras: Debian's clip of people walking, or drawn figures.

The clip (`vtest.avi`, 768x576, 10 frames a second, 80 s) is in Debian's package `opencv-doc`; it is
fetched from the machine's own package source and kept in the cache, never in the repository.
"""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from conf.stores import Point
from inference_service.detections import Image
from inference_service.frames import SourceError

log = logging.getLogger(__name__)

PACKAGE = "opencv-doc"
CLIP = "vtest.avi"
APT_SECONDS = 180.0
WIDTH, HEIGHT = 640, 480
LINE: tuple[Point, Point] = ((0.65, 0.9), (0.65, 0.1))


def fetch_clip(cache_dir: Path) -> Path | None:
    """The clip, fetched once into ``<cache_dir>/footage``; None where that is impossible."""
    target = cache_dir / "footage" / CLIP
    if target.is_file():
        return target
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        package = _download(Path(folder))
        if package is None or not _run(["dpkg-deb", "-x", str(package), "files"], Path(folder)):
            return None
        found = sorted((Path(folder) / "files").rglob(f"{CLIP}*"))
        if not found:
            log.info("package %s holds no %s", PACKAGE, CLIP)
            return None
        _keep(found[0], target)
    return target


def _download(folder: Path) -> Path | None:
    command = ["apt-get", "download", PACKAGE]
    if not _run(command, folder):
        # A fresh machine has no package lists yet, and only root may fetch them.
        if os.geteuid() != 0 or not _run(["apt-get", "update"], folder):
            return None
        if not _run(command, folder):
            return None
    return next(iter(sorted(folder.glob(f"{PACKAGE}_*.deb"))), None)


def _run(command: list[str], folder: Path) -> bool:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=APT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.info("%s: %s", command[0], error)
        return False
    if done.returncode:
        log.info("%s failed: %s", " ".join(command[:2]), done.stderr.strip().splitlines()[-1:])
    return done.returncode == 0


def _keep(found: Path, target: Path) -> None:
    # Written beside the target and renamed: a reader sees the whole clip or none.
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as part:
        opener = gzip.open if found.suffix == ".gz" else open
        with opener(found, "rb") as packed:
            shutil.copyfileobj(packed, part)
    Path(part.name).chmod(0o644)
    Path(part.name).replace(target)


@dataclass(frozen=True)
class _Walker:
    """One figure: through `meet` (pixels) at second `at`, with `speed` (pixels a second)."""

    meet: tuple[float, float]
    at: float
    speed: tuple[float, float]
    height: float
    coat: tuple[int, int, int]
    legs: tuple[int, int, int]


def draw_clip(
    path: Path,
    seconds: float = 20.0,
    fps: float = 10.0,
    seed: int = 7,
    line: tuple[Point, Point] = LINE,
) -> Path:
    """Draw figures who walk straight through a line, in both directions, one every two seconds.

    The same arguments draw the same pictures.

    Args:
        path: the video to write (.avi: MJPG, else mp4v).
        seconds: its length.
        fps: frames a second.
        seed: of places, speeds and colours.
        line: a -> b in shares of the picture; every figure crosses its middle part.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, fps, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise SourceError(f"The clip {path} cannot be written.")
    rng = np.random.default_rng(seed)
    floor = _floor(rng)
    walkers = _walkers(rng, seconds, line)
    for index in range(round(seconds * fps)):
        image = floor.copy()
        # Farther figures first, so that nearer ones stand before them.
        for walker in sorted(walkers, key=lambda w: _place(w, index / fps)[1]):
            _draw_walker(image, walker, index / fps)
        writer.write(image)
    writer.release()
    return path


def _floor(rng: np.random.Generator) -> Image:
    noise = rng.normal(0, 6, (HEIGHT // 8, WIDTH // 8, 1)).repeat(3, axis=2)
    grain = cv2.resize(noise.astype(np.float32), (WIDTH, HEIGHT))
    shade = np.linspace(150, 190, HEIGHT)[:, None, None]
    return np.asarray(np.clip(grain + shade, 0, 255), np.uint8)


def _walkers(rng: np.random.Generator, seconds: float, line: tuple[Point, Point]) -> list[_Walker]:
    a, b = (np.array(p) * (WIDTH, HEIGHT) for p in line)
    along = b - a
    across = np.array([-along[1], along[0]]) / np.linalg.norm(along)
    walkers = []
    for number, at in enumerate(np.arange(1.5, seconds, 2.0)):
        height = rng.uniform(90, 130)
        pace = rng.uniform(0.7, 0.95) * height * (1 if number % 2 else -1)
        meet = a + along * rng.uniform(0.25, 0.75)
        coat, legs = (tuple(int(v) for v in rng.integers(0, 90, 3)) for _ in range(2))
        walkers.append(
            _Walker(tuple(meet), float(at), tuple(across * pace), height, coat, legs)  # type: ignore[arg-type]
        )
    return walkers


def _place(walker: _Walker, second: float) -> tuple[float, float]:
    passed = second - walker.at
    return (
        walker.meet[0] + walker.speed[0] * passed,
        walker.meet[1] + walker.speed[1] * passed,
    )


def _draw_walker(image: Image, walker: _Walker, second: float) -> None:
    """Feet at the figure's place: head, coat and two striding legs."""
    x, y = _place(walker, second)
    h = walker.height
    if not (-h < x < WIDTH + h and 0 < y < HEIGHT + h):
        return

    def at(dx: float, dy: float) -> tuple[int, int]:
        return round(x + dx * h), round(y - dy * h)

    stride = 0.13 * np.sin(2 * np.pi * 0.9 * (second - walker.at))
    for side in (stride, -stride):
        cv2.line(image, at(0, 0.5), at(side, 0.03), walker.legs, round(0.09 * h))
    cv2.ellipse(image, at(0, 0.64), (round(0.13 * h), round(0.22 * h)), 0, 0, 360, walker.coat, -1)
    cv2.circle(image, at(0, 0.92), round(0.075 * h), (120, 150, 200), -1)
