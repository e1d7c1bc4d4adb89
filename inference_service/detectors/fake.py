"""A detector that returns configured detections: for tests and dry runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from inference_service.detections import Detections, Image


class FakeDetector:
    """Returns the scripted detections one after the other, whatever the camera, then nothing.

    Attributes:
        batches: the cameras of each batch that it was shown.
    """

    name = "fake"
    model = "script"
    device = "cpu"

    def __init__(self, script: Iterable[Detections] = ()) -> None:
        self._script = iter(script)
        self.batches: list[list[str]] = []

    def detect(self, images: Mapping[str, Image]) -> dict[str, Detections]:
        """The next entries of the script."""
        self.batches.append(list(images))
        return {camera: next(self._script, Detections.empty()) for camera in images}
