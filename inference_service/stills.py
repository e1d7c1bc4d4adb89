"""The newest frame of a camera for the console, on request: from memory, never stored."""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import cv2

from conf.settings import Settings, SettingsError
from conf.settings.base import is_loopback
from inference_service.detections import Detections, Image
from inference_service.frames import Frame

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

PATH = "/still/"
SECONDS = 1.0
"""Between two stills of a camera: this is no way to watch people."""
LONGER_SIDE, QUALITY = 1280, 85


class Stills:
    """Answers `GET /still/{camera}` with a JPEG, beside the metrics.

    Args:
        cameras: ids of those that the process reads.
        secret: that a client sends as `Authorization: Bearer SECRET`; None: every program of this
            machine may have a still, a browser never.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        secret: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret, self._clock = secret, clock
        self._frames: dict[str, Frame | None] = dict.fromkeys(cameras)
        self._sent: dict[str, float] = {}
        self._lock = threading.Lock()

    def observer(self, camera: str) -> Callable[[Frame, Detections], None]:
        """Keeps the newest frame of a camera, and lets the one before go."""

        def keep(frame: Frame, _: Detections) -> None:
            self._frames[camera] = frame

        return keep

    def beside(self, metrics: WSGIApplication) -> WSGIApplication:
        """An application that serves stills, and all other addresses by another application."""

        def serve(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
            if not path.startswith(PATH):
                return metrics(environ, start)
            status, headers, body = self._answer(environ, path.removeprefix(PATH))
            common = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
            start(f"{status.value} {status.phrase}", [*headers, *common])
            return [body]

        return serve

    def _answer(
        self, environ: WSGIEnvironment, camera: str
    ) -> tuple[HTTPStatus, list[tuple[str, str]], bytes]:
        if not self._may(environ):
            return _text(HTTPStatus.FORBIDDEN, "Stills are for the console.")
        if environ["REQUEST_METHOD"] != "GET":
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "Only GET.")
        if camera not in self._frames:
            return _text(HTTPStatus.NOT_FOUND, "This process does not read that camera.")
        frame = self._frames[camera]
        if frame is None:
            return _text(HTTPStatus.NOT_FOUND, "The camera has sent no frame yet.")
        if not self._is_due(camera):
            return _text(HTTPStatus.TOO_MANY_REQUESTS, "One still a second: wait a moment.")
        log.info("still of camera %s sent to %s", camera, environ.get("REMOTE_ADDR"))
        headers = [
            ("Content-Type", "image/jpeg"),
            ("X-Captured-At", frame.captured_at.isoformat(timespec="seconds")),
        ]
        return HTTPStatus.OK, headers, jpeg(frame.image)

    def _may(self, environ: WSGIEnvironment) -> bool:
        if self._secret is not None:
            given = str(environ.get("HTTP_AUTHORIZATION", "")).encode()
            return hmac.compare_digest(given, f"Bearer {self._secret}".encode())
        host = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname or ""
        # Browsers name the site of a page: none may show a still, nor reach it by another name.
        return is_loopback(host) and not {"HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE"} & environ.keys()

    def _is_due(self, camera: str) -> bool:
        with self._lock:
            now = self._clock()
            due = now - self._sent.get(camera, float("-inf")) >= SECONDS
            if due:
                self._sent[camera] = now
        return due


def jpeg(image: Image) -> bytes:
    """A picture as JPEG, its longer side at most `LONGER_SIDE` pixels."""
    height, width = image.shape[:2]
    scale = min(1.0, LONGER_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return encoded.tobytes()


def build_stills(settings: Settings, cameras: Iterable[str]) -> Stills | None:
    """Stills of some cameras; None where `inference.stills` is off.

    Raises:
        SettingsError: without a port, or beyond loopback without a secret.
    """
    inference = settings.inference
    if not inference.stills:
        return None
    if not inference.metrics_port:
        raise SettingsError(
            "STORELAKE_INFERENCE__STILLS needs a port: set STORELAKE_INFERENCE__METRICS_PORT."
        )
    secret = inference.stills_secret
    if secret is None and not is_loopback(settings.metrics_host):
        raise SettingsError(
            f"STORELAKE_METRICS_HOST={settings.metrics_host} is not loopback: stills need a "
            "STORELAKE_INFERENCE__STILLS_SECRET there, the same for the console."
        )
    return Stills(cameras, secret.get_secret_value() if secret else None)


def _text(status: HTTPStatus, sentence: str) -> tuple[HTTPStatus, list[tuple[str, str]], bytes]:
    return status, [("Content-Type", "text/plain; charset=utf-8")], sentence.encode()
