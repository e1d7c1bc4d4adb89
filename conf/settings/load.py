"""Building the settings tree from its sources."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError as UnreadableError

from conf.settings.base import SettingsError
from conf.settings.sources import require_readable
from conf.settings.tree import Settings
from conf.settings.weak_secrets import require_strong_secrets


def load_settings(**overrides: Any) -> Settings:
    """Read every source once and return the frozen tree.

    Raises:
        SettingsError: an unknown profile, a `.env` that is no list of variables, an invalid
            value, named with its path, or a weak secret.
    """
    require_readable(Path(".env"))
    try:
        settings = Settings(_env_file=".env", **overrides)
    except UnreadableError as error:  # lists and tables
        raise SettingsError(
            f"settings do not fit: {error}; lists and tables are written as JSON, such as "
            """'["kafka"]'."""
        ) from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()
        )
        raise SettingsError(f"settings do not fit: {faults}") from error
    require_strong_secrets(settings, settings.profile)
    return settings


def choose_profile(name: str) -> None:
    """Set STORELAKE_PROFILE for this process and for those that it starts."""
    os.environ["STORELAKE_PROFILE"] = name


def is_submitted() -> bool:
    """Whether `spark-submit` started this process, so that its JVM already runs."""
    return "PYSPARK_GATEWAY_PORT" in os.environ
