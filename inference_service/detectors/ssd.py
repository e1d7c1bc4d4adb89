"""People in real pictures: SSD-MobileNetV2, trained on Open Images v4, run by LiteRT on the CPU.

The model is of Google's MediaPipe (Apache-2.0; `inference_service.model_files` fetches it). It was
trained on 300 x 300 pixels, where a person of a camera's picture is a few pixels wide, but it is
convolutional: it takes larger pictures, too, and finds people of 30 to 300 pixels in each. So there
are two passes: a fine one, with the picture's longer side at `image_size`, and a coarse one for the
people who are tall in the picture. No picture is cut into tiles, so nobody is cut by an edge.

A pass uses all threads, so that cameras gain nothing from being one tensor; they take turns.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from conf.errors import first_line
from conf.settings import Settings, SettingsError
from inference_service.detections import Detections, FloatArray, Image
from inference_service.detectors.weights import weights_file
from inference_service.model_files import fetch, model_files

IMAGE_SIZE = 768
COARSE_SIZE = 384
TALL = 0.25  # share of the picture's height from which on the coarse pass counts
NMS_OVERLAP = 0.45
PERSON = 4  # class number; 0 is the background
MIDDLE, SLOPE = 0.42, 20.0
"""Of the logistic that makes a confidence of a score. The scores of people lie between 0.4 and 0.7;
on 22 annotated frames of Debian's vtest.avi (benchmarks/street_people.json) no box below 0.4 and
every box above 0.45 was a person."""

TRAINED_SIZE = 300
STRIDES = (16, 32, 64, 128, 256, 512)
SCALES = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)
FIXED_RESHAPE = struct.pack("<4i", 12, 1, 1917, 4)  # 12 bytes: the shape (1, 1917, 4)
OPEN_RESHAPE = struct.pack("<4i", 12, 1, -1, 4)

Tensor = NDArray[np.float32]


class SsdDetector:
    """The two passes, decoding and non-maximum suppression."""

    name = "ssd"
    device = "cpu"

    def __init__(
        self,
        path: Path,
        *,
        min_confidence: float = 0.3,
        image_size: int = IMAGE_SIZE,
        threads: int = 0,
    ) -> None:
        self.model = path.name
        self._path, self._content = path, open_sizes(path.read_bytes())
        self._threads = threads or os.cpu_count() or 1
        self._min_confidence, self._image_size = min_confidence, image_size
        self._network = lru_cache(maxsize=8)(self._open)  # 50 to 100 MB each
        self._run(np.zeros((1, TRAINED_SIZE, TRAINED_SIZE, 3), np.float32))

    def detect(self, images: Mapping[str, Image]) -> dict[str, Detections]:
        """Find people in one picture of each camera, one camera after the other."""
        return {camera: self._find(image) for camera, image in images.items()}

    def _find(self, image: Image) -> Detections:
        found = self._pass(image, self._image_size)
        if self._image_size > COARSE_SIZE:
            coarse = self._pass(image, COARSE_SIZE)
            height = coarse.boxes[:, 3] - coarse.boxes[:, 1]
            found = found.join(coarse.select(height >= TALL * image.shape[0]))
        return found.suppress(NMS_OVERLAP)

    def _pass(self, image: Image, longer: int) -> Detections:
        height, width = image.shape[:2]
        scale = longer / max(height, width)
        rows, columns = network_side(height * scale), network_side(width * scale)
        encodings, scores = self._run(_tensor(image, rows, columns))
        confidence = 1 / (1 + np.exp(-SLOPE * (scores - MIDDLE)))
        keep = confidence >= self._min_confidence
        boxes = decode(encodings[keep], anchors(rows, columns)[keep])
        to_picture = [width / columns, height / rows] * 2
        return Detections.people(boxes * to_picture, confidence[keep])

    def _run(self, tensor: Tensor) -> tuple[FloatArray, FloatArray]:
        """Box encodings (n, 4) and scores of a person (n,)."""
        network = self._network(*tensor.shape[1:3])
        network.set_tensor(network.get_input_details()[0]["index"], tensor)
        network.invoke()
        encodings, classes = (
            np.asarray(network.get_tensor(output["index"])[0], np.float64)
            for output in network.get_output_details()
        )
        return encodings, 1 / (1 + np.exp(-classes[:, PERSON]))

    def _open(self, rows: int, columns: int) -> Interpreter:
        try:
            network = Interpreter(model_content=self._content, num_threads=self._threads)
            network.resize_tensor_input(0, (1, rows, columns, 3), strict=False)
            network.allocate_tensors()
            shapes = [tuple(map(int, o["shape"])) for o in network.get_output_details()]
        except (ValueError, RuntimeError) as error:
            reason = first_line(error)
            raise SettingsError(f"the model {self._path} cannot be read: {reason}") from error
        count = len(anchors(rows, columns))
        if shapes != [(1, count, 4), (1, count, 24)]:
            raise SettingsError(
                f"the model {self._path} is not the one of the detector ssd: it outputs {shapes}; "
                "fetch that with `storelake models fetch`, or choose the detector onnx or yolo"
            )
        return network


def open_sizes(content: bytes) -> bytes:
    """The model with its one reshape of a fixed size opened, so that it takes any picture size."""
    return content.replace(FIXED_RESHAPE, OPEN_RESHAPE)


def network_side(pixels: float) -> int:
    """The side of the network's input that is nearest to `pixels`; at least the trained 300.

    Sides differ from 300 by multiples of 32, so that each halving pads as it did in training.
    """
    steps = round((pixels - TRAINED_SIZE) / 32)
    return TRAINED_SIZE + 32 * max(0, steps)


@lru_cache(maxsize=8)
def anchors(rows: int, columns: int) -> FloatArray:
    """Anchor boxes (centre x, centre y, width, height), in pixels of the network's input.

    As MediaPipe's `SsdAnchorsCalculator` makes them with the options of its graph
    `object_detection_oid_v4`, but with sizes in pixels of the trained 300, whatever the input.
    """
    layers = []
    for layer, stride in enumerate(STRIDES):
        sizes = TRAINED_SIZE * np.array(_shapes(layer))
        grid = [np.arange(-(-side // stride)) + 0.5 for side in (columns, rows)]
        x, y = np.meshgrid(grid[0] * columns / len(grid[0]), grid[1] * rows / len(grid[1]))
        centres = np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), len(sizes), axis=0)
        layers.append(np.hstack([centres, np.tile(sizes, (x.size, 1))]))
    return np.vstack(layers)


def _shapes(layer: int) -> list[tuple[float, float]]:
    """Width and height of a layer's anchors as shares of the trained input."""
    scale, following = SCALES[layer], SCALES[layer + 1]
    pairs = [(scale, ratio) for ratio in RATIOS] + [((scale * following) ** 0.5, 1.0)]
    if layer == 0:
        pairs = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
    return [(size * ratio**0.5, size / ratio**0.5) for size, ratio in pairs]


def decode(encodings: FloatArray, priors: FloatArray) -> FloatArray:
    """Boxes (x1, y1, x2, y2) from encodings (y, x, height, width) relative to anchors.

    Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, equation 2, inverted; the divisors
    10 and 5 are the box coder's scales of MediaPipe's graph `object_detection_oid_v4`::

        centre = encoding / 10 * anchor size + anchor centre
        size = exp(encoding / 5) * anchor size
    """
    centre = encodings[:, 1::-1] / 10 * priors[:, 2:] + priors[:, :2]
    half = np.exp(encodings[:, :1:-1] / 5) * priors[:, 2:] / 2
    return np.hstack([centre - half, centre + half])


def _tensor(image: Image, rows: int, columns: int) -> Tensor:
    """The picture as (1, rows, columns, RGB) in -1..1."""
    smaller = columns < image.shape[1]
    resized = cv2.resize(
        image, (columns, rows), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    )
    rgb = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
    return (rgb.astype(np.float32) / np.float32(127.5) - 1)[None]


def build(settings: Settings) -> SsdDetector:
    """The detector as configured; its model is fetched the first time."""
    chosen = settings.inference
    if chosen.device.startswith("cuda"):
        raise SettingsError(
            f"device {chosen.device!r} is not for the detector ssd, which runs on the CPU: choose "
            "yolo or onnx with your weights, or set STORELAKE_INFERENCE__DEVICE=auto"
        )
    if chosen.weights is None:
        path = fetch(next(m for m in model_files(settings.cache_dir) if m.detector == "ssd"))
    else:
        path = weights_file(chosen, (".tflite",))
    return SsdDetector(
        path,
        min_confidence=chosen.min_confidence,
        image_size=chosen.image_size or IMAGE_SIZE,
        threads=chosen.threads,
    )
