"""`storelake zones`: draw and check the lines and zones of the store file."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from cli.app import new_app
from cli.context import INSTANTS, read_settings
from conf.errors import StorelakeError
from infra.terminal import console

app = new_app("zones", "Lines and zones: draw them, check them.")


@app.command()
def show(
    camera: Annotated[str, typer.Option(help="Camera id, as in the store file.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")],
    frame: Annotated[
        Path | None, typer.Option(help="A picture or a video (its first frame) to draw on.")
    ] = None,
    at: Annotated[
        datetime | None, typer.Option(formats=INSTANTS, help="The layout at this time; else now.")
    ] = None,
) -> None:
    """Draw the lines and zones of a camera, with the direction of an entry at each line."""
    import cv2

    from conf.stores import load_stores
    from inference_service.zone_picture import draw, read_background

    stores = load_stores(read_settings().stores_file)
    _, found = stores.camera(camera)
    layout = stores.layout_at(found, at or datetime.now(timezone.utc))
    if layout is None:
        first = stores.layouts(found)[0].valid_from
        raise StorelakeError(f"camera {camera} has no layout before {first:%Y-%m-%d %H:%M %Z}.")
    picture = draw(read_background(frame), layout, f"{camera}, layout {layout.version}")
    with suppress(OSError):  # then it cannot be written either
        out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() != ".png" or not cv2.imwrite(str(out), picture):
        raise StorelakeError(
            f"{out} cannot be written: name a .png in a folder that can be written."
        )
    console().print(
        f"{out}: {len(layout.lines)} lines, {len(layout.zones)} zones, layout "
        f"{layout.version}, valid from {layout.valid_from:%Y-%m-%d %H:%M %Z}",
        highlight=False,
    )


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Option(help="A store file; else the one of the settings.")
    ] = None,
) -> None:
    """Report faults and likely mistakes in the lines and zones of a store file."""
    from conf.stores.check import find_faults, find_oddities

    path = file or read_settings().stores_file
    if faults := find_faults(path):
        raise StorelakeError(f"{path} cannot be used:\n" + "\n".join(f"- {f}" for f in faults))
    for oddity in find_oddities(path):
        console().print(f"note: {oddity}", highlight=False, markup=False)
    console().print(f"{path}: every line and zone can be used.", highlight=False, markup=False)
