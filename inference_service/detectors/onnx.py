"""A YOLO model exported to ONNX, run by onnxruntime: no torch, a few dozen megabytes.

Reads what ultralytics exports, in both layouts: raw, shape (batch, 4 + classes, n) with centre,
size and a score a class, which leaves non-maximum suppression to us; and end to end, shape (batch,
n, 6) with corners, score and class, where the model has done it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from conf.settings import Settings, SettingsError
from inference_service.detections import Detections, FloatArray, Image
from inference_service.detectors.weights import IMAGE_SIZE, WARM_UP, person_class, weights_file

STRIDE = 32  # pixels; the sides of an input are multiples of it
PADDING = 114  # the grey that YOLO models are trained with around a picture
NMS_OVERLAP = 0.6
END_TO_END = 6  # columns: x1, y1, x2, y2, score, class
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"

Tensor = NDArray[np.float32]


@dataclass(frozen=True)
class Fit:
    """How a picture was scaled and padded: ``model = picture * scale + (left, top)``."""

    scale: float
    left: int
    top: int

    def undo(self, boxes: FloatArray) -> FloatArray:
        """Boxes of the model's picture in the pixels of ours."""
        return (boxes - [self.left, self.top, self.left, self.top]) / self.scale


class OnnxDetector:
    """An onnxruntime session with its letterbox before and its suppression after."""

    name = "onnx"

    def __init__(
        self,
        path: Path,
        *,
        person: str = "person",
        min_confidence: float = 0.3,
        image_size: int = IMAGE_SIZE,
        device: str = "auto",
        threads: int = 0,
    ) -> None:
        self._session = _open(path, device, threads)
        self._input = self._session.get_inputs()[0]
        shape = self._input.shape
        if len(shape) != 4 or shape[1] != 3 or len(self._session.get_outputs()) != 1:
            raise SettingsError(
                f"the model {path} is no YOLO export: it takes {shape} and gives "
                f"{[o.shape for o in self._session.get_outputs()]}"
            )
        half = self._input.type == "tensor(float16)"
        self._type: type[np.float16 | np.float32] = np.float16 if half else np.float32
        # A name or None stands for a size that is open until a batch comes.
        self._batch, _, self._height, self._width = (
            n if isinstance(n, int) else None for n in shape
        )
        self._image_size, self._min_confidence = image_size, min_confidence
        self._person = person_class(_class_names(self._session), person, path)
        self._path = path
        self.model = path.name
        self.device = "cuda" if self._session.get_providers()[0] == CUDA else "cpu"
        self.detect(WARM_UP)

    def detect(self, images: Mapping[str, Image]) -> dict[str, Detections]:
        """All pictures at once where the model's batch is open, else in batches of its size."""
        cameras = list(images)
        found: dict[str, Detections] = {}
        step = self._batch or len(cameras)
        for start in range(0, len(cameras), step):
            part = cameras[start : start + step]
            seen = self._run([images[camera] for camera in part])
            found.update(zip(part, seen, strict=True))
        return found

    def _run(self, images: Sequence[Image]) -> list[Detections]:
        height, width = self._size(images)
        batch = np.full((self._batch or len(images), height, width, 3), PADDING, np.uint8)
        fits = [letterbox(image, canvas) for image, canvas in zip(images, batch, strict=False)]
        # BGR to RGB, rows of pixels to planes, 0..255 to 0..1.
        planes = cv2.dnn.blobFromImages(list(batch), 1 / 255, swapRB=True)
        tensor = np.asarray(planes, self._type)
        (output,) = self._session.run(None, {self._input.name: tensor})
        return [
            self._decode(np.asarray(one, np.float32), fit)
            for one, fit in zip(output, fits, strict=False)
        ]

    def _size(self, images: Sequence[Image]) -> tuple[int, int]:
        """Height and width of a batch: the model's own, else the least that holds all pictures."""
        if self._height and self._width:
            return self._height, self._width
        scaled = [
            np.array(image.shape[:2]) * self._image_size / max(image.shape[:2]) for image in images
        ]
        height, width = (np.ceil(np.max(scaled, axis=0) / STRIDE) * STRIDE).astype(int)
        return self._height or int(height), self._width or int(width)

    def _decode(self, output: Tensor, fit: Fit) -> Detections:
        if output.ndim == 2 and output.shape[1] == END_TO_END != output.shape[0]:
            boxes, scores, overlap = *self._end_to_end(output), 1.0
        elif output.ndim == 2 and output.shape[0] > 4 + self._person:
            boxes, scores, overlap = *self._raw(output), NMS_OVERLAP
        else:
            raise SettingsError(
                f"the model {self._path} is no YOLO export: it gives {output.shape}, not "
                "(4 + classes, n) or (n, 6)"
            )
        return Detections.people(fit.undo(boxes), np.clip(scores, 0.0, 1.0)).suppress(overlap)

    def _end_to_end(self, rows: Tensor) -> tuple[FloatArray, FloatArray]:
        keep = (rows[:, 4] >= self._min_confidence) & (rows[:, 5].round() == self._person)
        rows = rows[keep]
        return _ordered(rows[:, :4].astype(np.float64)), rows[:, 4].astype(np.float64)

    def _raw(self, columns: Tensor) -> tuple[FloatArray, FloatArray]:
        scores = columns[4 + self._person]
        keep = scores >= self._min_confidence
        if columns.shape[0] > 5:  # a box belongs to the class that it is most like
            keep &= scores >= columns[4:].max(axis=0)
        x, y, width, height = columns[:4, keep].astype(np.float64)
        half = np.stack([width, height], axis=1) / 2
        centre = np.stack([x, y], axis=1)
        boxes = np.hstack([centre - half, centre + half])
        return _ordered(boxes), scores[keep].astype(np.float64)


def letterbox(image: Image, canvas: Image) -> Fit:
    """Draw the picture into the middle of the canvas, as large as fits."""
    height, width = image.shape[:2]
    scale = min(canvas.shape[0] / height, canvas.shape[1] / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    left, top = (canvas.shape[1] - size[0]) // 2, (canvas.shape[0] - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(image, size)
    return Fit(scale, left, top)


def _ordered(boxes: FloatArray) -> FloatArray:
    # A model may give a box with a negative size; such a one has no area, and is no error.
    return np.hstack([boxes[:, :2], np.maximum(boxes[:, :2], boxes[:, 2:])])


def _open(path: Path, device: str, threads: int) -> onnxruntime.InferenceSession:
    have = onnxruntime.get_available_providers()
    if device.startswith("cuda") and CUDA not in have:
        raise SettingsError(
            f"device {device!r} is not there: this onnxruntime has {', '.join(have)}; install "
            "onnxruntime-gpu, or set STORELAKE_INFERENCE__DEVICE=cpu"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for the next picture must not burn the cores that decode it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    gpu = (CUDA, {"device_id": int(device.partition(":")[2] or 0)})
    providers = [CPU] if device == "cpu" or CUDA not in have else [gpu, CPU]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers)
    except Exception as error:  # onnxruntime has a family of its own for each cause
        reason = str(error).splitlines()[0].rpartition(" : ")[2]
        raise SettingsError(f"the model {path} cannot be read: {reason}") from error
    if device.startswith("cuda") and session.get_providers()[0] != CUDA:
        # onnxruntime takes the CPU without an error when the GPU or a library of CUDA is missing.
        raise SettingsError(
            f"device {device!r} cannot be used: onnxruntime could not load CUDA; check the driver "
            "and the libraries that `nvidia-smi` and `ldd` show, or set "
            "STORELAKE_INFERENCE__DEVICE=cpu"
        )
    return session


def _class_names(session: onnxruntime.InferenceSession) -> dict[int, str]:
    """What ultralytics wrote into the file: ``{0: 'person', ...}``; empty without."""
    text = session.get_modelmeta().custom_metadata_map.get("names", "")
    try:
        names = ast.literal_eval(text)
        return {int(number): str(name) for number, name in dict(names).items()}
    except (ValueError, SyntaxError, TypeError):
        return {}


def build(settings: Settings) -> OnnxDetector:
    """The detector as configured."""
    return OnnxDetector(
        weights_file(settings.inference, (".onnx",)),
        person=settings.inference.person_class,
        min_confidence=settings.inference.min_confidence,
        image_size=settings.inference.image_size or IMAGE_SIZE,
        device=settings.inference.device,
        threads=settings.inference.threads,
    )
