"""Which cameras a process reads, and from where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from conf.settings import Settings, SettingsError
from conf.stores import Branch, Camera, Layout, Stores, load_stores


@dataclass(frozen=True)
class CameraInput:
    """A camera and what it is read from: a file, a folder, an address or a webcam index.

    Attributes:
        layouts: of the camera, oldest first.
    """

    branch: Branch
    camera: Camera
    source: str
    layouts: tuple[Layout, ...]


def all_cameras(settings: Settings) -> list[str]:
    """Ids of the cameras of the store file, in its order."""
    return _ids(load_stores(settings.stores_file))


def choose_cameras(
    settings: Settings, cameras: Sequence[str], sources: Sequence[str]
) -> list[CameraInput]:
    """Combine cameras with their sources.

    Args:
        settings: with the store file, and sources that are secret.
        cameras: ids; empty for all that have a source.
        sources: of the cameras, in their order; a camera without one takes it from the settings or
            the store file.

    Raises:
        SettingsError: an unknown camera, or one without a source.
    """
    stores = load_stores(settings.stores_file)
    chosen = cameras or [c for c in _ids(stores) if _configured(settings, stores, c)]
    if not chosen:
        raise SettingsError(
            f"no camera of {settings.stores_file} has a source: give --camera and --source, or "
            "STORELAKE_INFERENCE__SOURCES"
        )
    return [_input(settings, stores, one, source) for one, source in zip_longest(chosen, sources)]


def _input(settings: Settings, stores: Stores, camera_id: str, source: str | None) -> CameraInput:
    branch, camera = stores.camera(camera_id)
    found = source or _configured(settings, stores, camera_id)
    if found is None:
        raise SettingsError(
            f"camera {camera_id} has no source: give --source, a `source` in "
            f"{settings.stores_file}, or STORELAKE_INFERENCE__SOURCES"
        )
    return CameraInput(branch, camera, found, stores.layouts(camera))


def _configured(settings: Settings, stores: Stores, camera_id: str) -> str | None:
    secret = settings.inference.sources.get(camera_id)
    return secret.get_secret_value() if secret else stores.camera(camera_id)[1].source


def _ids(stores: Stores) -> list[str]:
    return [camera.camera_id for branch in stores.branches for camera in branch.cameras]
