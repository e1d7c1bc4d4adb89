"""Sources of settings: variables, files of variables, profiles."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    TomlConfigSettingsSource,
)

from conf.settings.base import CONF_DIR, SettingsError
from conf.settings.renamed import rename_tree, rename_variables

PREFIX = "STORELAKE_"


def sources(
    tree: type[BaseSettings],
    given: PydanticBaseSettingsSource,
    environment: PydanticBaseSettingsSource,
    dotenv: PydanticBaseSettingsSource,
) -> tuple[PydanticBaseSettingsSource, ...]:
    """All sources, the strongest first: arguments, environment, .env, secrets, profile.

    Raises:
        SettingsError: an unknown profile, or a file of secrets that cannot be read.
    """
    written = getattr(dotenv, "env_vars", {})  # by lower-case names
    profile = TomlConfigSettingsSource(tree, toml_file=_profile_file(written))
    var_dir = Path(
        given().get("var_dir")
        or os.environ.get("STORELAKE_VAR_DIR")
        or written.get("storelake_var_dir")
        or profile().get("var_dir", "var")
    )
    secrets_file = var_dir.expanduser() / "secrets.env"
    require_readable(secrets_file)
    secrets = DotEnvSettingsSource(tree, env_file=secrets_file)
    return given, *(_renamed(source) for source in (environment, dotenv, secrets, profile))


def _profile_file(written: dict[str, str | None]) -> Path:
    profile = os.environ.get("STORELAKE_PROFILE") or written.get("storelake_profile") or "local"
    file = CONF_DIR / "profiles" / f"{profile}.toml"
    if not file.is_file():
        known = ", ".join(sorted(p.stem for p in file.parent.glob("*.toml")))
        raise SettingsError(f"STORELAKE_PROFILE={profile!r} is unknown; known: {known}")
    return file


def _renamed(source: PydanticBaseSettingsSource) -> PydanticBaseSettingsSource:
    """The values of a source under their current names."""
    if isinstance(source, EnvSettingsSource):
        source.env_vars = rename_variables(source.env_vars, PREFIX.lower())
    return InitSettingsSource(source.settings_cls, rename_tree(source()))


def require_readable(file: Path) -> None:
    """Check that a file of variables has no line that its parser would skip.

    Raises:
        SettingsError: names the file, and the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SettingsError(
            f"{file} cannot be read ({reason}): mend it, or move it away."
        ) from error
    for line in parse_stream(StringIO(text)):
        if line.error or (line.key is not None and line.value is None):
            # The parser counts empty lines to what follows them.
            source = line.original.string
            number = line.original.line + source[: len(source) - len(source.lstrip())].count("\n")
            raise SettingsError(
                f"{file}, line {number} is not NAME=VALUE: mend it, or put a # before "
                "it; a value with spaces or # needs quotes."
            )
