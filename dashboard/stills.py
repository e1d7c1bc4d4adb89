"""Stills from the machine of a camera: fetched for one operator, passed on, never kept."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import httpx

from conf.settings import Settings

SECONDS = 8.0
HOW = "set STORELAKE_INFERENCE__STILLS=true for `storelake infer` (docs/CAMERAS.md)"


class StillError(Exception):
    """Why there is no still: one sentence."""


@dataclass(frozen=True)
class Still:
    """A picture as JPEG, and when it was taken (ISO 8601, UTC)."""

    jpeg: bytes
    captured_at: str


def fetch_still(settings: Settings, camera_id: str) -> Still:
    """The newest frame of a camera. Blocks; for a thread.

    Raises:
        StillError: its machine does not answer, or does not give stills.
    """
    here = f"http://127.0.0.1:{settings.inference.metrics_port}"
    address = settings.console.stills_from.get(camera_id, here).rstrip("/")
    secret = settings.inference.stills_secret
    headers = {"Authorization": f"Bearer {secret.get_secret_value()}"} if secret else {}
    url = f"{address}/still/{quote(camera_id, safe='')}"
    try:
        answer = httpx.get(url, headers=headers, timeout=SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise StillError(f"No inference service answers at {address}: {error}.") from error
    kind = answer.headers.get("Content-Type", "")
    if answer.status_code != httpx.codes.OK and kind.startswith("text/plain"):
        raise StillError(answer.text[:200])
    if kind != "image/jpeg":
        raise StillError(f"The inference service at {address} gives no stills: {HOW}.")
    return Still(answer.content, answer.headers.get("X-Captured-At", ""))
