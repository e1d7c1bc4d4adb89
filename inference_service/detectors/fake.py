"""A detector that says what it was told: for tests and dry runs."""

from __future__ import annotations

from collections.abc import Iterable

from inference_service.detections import Detections, Image


class FakeDetector:
    """Returns the scripted detections one after the other, then nothing.

    Attributes:
        seen: how many pictures it was shown.
    """

    name = "fake"
    model = "script"
    device = "cpu"

    def __init__(self, script: Iterable[Detections] = ()) -> None:
        self._script = iter(script)
        self.seen = 0

    def detect(self, image: Image) -> Detections:  # noqa: ARG002 - the script decides
        """The next entry of the script."""
        self.seen += 1
        return next(self._script, Detections.empty())
