"""An inference service beside the load: it is killed and started again, as its unit does."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from conf.settings import Settings
from verification.deployment import Deployment
from verification.processes import Child, command

CAMERA_ID = "B01-till"
FPS = 2
_SIZE = (320, 180)


class InferenceService:
    """`storelake infer` of one camera that plays a short video for ever.

    Args:
        deployment: whose Kafka it publishes to.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._video = draw_video(deployment.settings.var_dir / "check" / "till.avi")
        self.child = self.start()

    def start(self) -> Child:
        """Start another process; its camera begins a new run."""
        settings: Settings = self._deployment.settings
        arguments = ["infer", "--camera", CAMERA_ID, "--source", str(self._video), "--loop"]
        arguments += ["--realtime", "--fps", str(FPS), "--detector", "motion", "--publisher"]
        given = {**self._deployment.environment, "STORELAKE_INFERENCE__THREADS": "1"}
        log = settings.var_dir / "logs" / "inference.log"
        self.child = Child("inference service", command([*arguments, "kafka"], given), log)
        return self.child

    def end(self) -> None:
        """SIGTERM, and what waits is published."""
        self.child.stop()


def draw_video(path: Path) -> Path:
    """Ten seconds of a grey square that walks over a dark ground."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), code, FPS, _SIZE)
    for step in range(10 * FPS):
        picture = np.full((_SIZE[1], _SIZE[0], 3), 30, np.uint8)
        left = 10 + 12 * step
        cv2.rectangle(picture, (left, 60), (left + 30, 140), (190, 190, 190), -1)
        writer.write(picture)
    writer.release()
    return path
