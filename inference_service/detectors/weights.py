"""What the back ends with a model share: which file, and which of its classes is a person."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from conf.settings import InferenceSettings, SettingsError
from inference_service.model_files import SHIPPED

# Shown to a model when it is loaded: what is wrong with it comes out before the cameras start, and
# the first real picture does not wait for what is loaded late.
IMAGE_SIZE = 320
"""Pixels of the longer side of a YOLO model's input where the settings name none."""
WARM_UP = {"": np.full((320, 320, 3), 128, np.uint8)}


def weights_file(settings: InferenceSettings, suffixes: tuple[str, ...]) -> Path:
    """The model file that the settings name, else the one that ships.

    Raises:
        SettingsError: it is not there, or of a kind that the back end does not read.
    """
    path = settings.weights or SHIPPED
    if path.suffix.lower() not in suffixes:
        raise SettingsError(
            f"the model {path} is none of {', '.join(suffixes)}: choose the detector that reads it "
            "(STORELAKE_INFERENCE__DETECTOR or --detector)"
        )
    if not path.is_file():
        raise SettingsError(
            f"the model {path} does not exist; name yours with STORELAKE_INFERENCE__WEIGHTS"
        )
    return path


def person_class(names: Mapping[int, str], wanted: str, path: Path) -> int:
    """The number of the class that counts as a person.

    Args:
        names: of the classes in the model file; empty when it has none.
        wanted: a name, or a number.
        path: of the model, for the message.

    Raises:
        SettingsError: the model has no such class; the message names those that it has.
    """
    for number, name in names.items():
        if name.lower() == wanted.lower():
            return number
    if wanted.isdecimal() and (not names or int(wanted) in names):
        return int(wanted)
    has = f"it has {_listed(names)}" if names else "its file does not name its classes"
    raise SettingsError(
        f"the model {path} has no class {wanted!r}: {has}; set STORELAKE_INFERENCE__PERSON_CLASS "
        "to the name or number of the one that is a person"
    )


def _listed(names: Mapping[int, str], most: int = 8) -> str:
    shown = [f"{name} ({number})" for number, name in sorted(names.items())[:most]]
    return ", ".join([*shown, "..."] if len(names) > most else shown)
