"""`storelake zones`: the lines and zones of the store file, as a picture and as a check."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import INSTANTS, read_settings
from conf.errors import StorelakeError
from conf.terminal import console

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from conf.stores import Drawing, Point

    Image = NDArray[np.uint8]

BLANK = (540, 960)
"""Height and width of a picture without a frame, in pixels."""

GREY, WHITE, RED = (64, 64, 64), (255, 255, 255), (60, 60, 230)
COLOURS = {"browse": (220, 150, 40), "queue": (40, 200, 240), "staff": (190, 80, 190)}
"""Blue, green, red, as OpenCV orders them."""

app = typer.Typer(
    name="zones",
    help="Lines and zones: draw them, check them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class ZonesError(StorelakeError):
    """A store file with faults, or a picture that cannot be made; the message says which."""


@app.command()
def show(
    camera: Annotated[str, typer.Option(help="Camera id, as in the store file.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")],
    frame: Annotated[
        Path | None, typer.Option(help="A picture or a video (its first frame) to draw on.")
    ] = None,
    at: Annotated[
        datetime | None, typer.Option(formats=INSTANTS, help="The drawing of then; else of now.")
    ] = None,
) -> None:
    """Draw the lines and zones of a camera, with the direction of an entry at each line."""
    import cv2

    from conf.stores import load_stores

    stores = load_stores(read_settings().stores_file)
    _, found = stores.camera(camera)
    drawing = stores.drawing_at(found, at or datetime.now(timezone.utc))
    if drawing is None:
        first = stores.drawings(found)[0].valid_from
        raise ZonesError(f"camera {camera} has no drawing before {first:%Y-%m-%d %H:%M %Z}.")
    picture = draw(_background(frame), drawing, f"{camera}, drawing {drawing.version}")
    out.parent.mkdir(parents=True, exist_ok=True)
    written = out.suffix.lower() == ".png" and cv2.imwrite(str(out), picture)
    if not written:
        raise ZonesError(f"{out} cannot be written: name a .png in a folder that can be written.")
    console().print(
        f"{out}: {len(drawing.lines)} lines, {len(drawing.zones)} zones, drawing "
        f"{drawing.version}, valid from {drawing.valid_from:%Y-%m-%d %H:%M %Z}",
        highlight=False,
    )


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Option(help="A store file; else the one of the settings.")
    ] = None,
) -> None:
    """Say what is wrong with the lines and zones of a store file, and what looks like a mistake."""
    from conf.stores.check import find_faults, find_oddities

    path = file or read_settings().stores_file
    if faults := find_faults(path):
        raise ZonesError(f"{path} cannot be used:\n" + "\n".join(f"- {f}" for f in faults))
    for oddity in find_oddities(path):
        console().print(f"note: {oddity}", highlight=False, markup=False)
    console().print(f"{path}: every line and zone can be used.", highlight=False, markup=False)


def draw(picture: Image, drawing: Drawing, title: str) -> Image:
    """A copy of a picture with a drawing on it.

    Args:
        picture: height x width x 3, blue, green, red.
        drawing: lines, each with an arrow the way of an entry, and zones, filled by their kind.
        title: at the top left.
    """
    import cv2
    import numpy as np

    height, width = picture.shape[:2]

    def pixel(point: Point) -> tuple[int, int]:
        return round(point[0] * (width - 1)), round(point[1] * (height - 1))

    canvas = picture.copy()
    for zone in drawing.zones:
        cv2.fillPoly(canvas, [np.array([pixel(p) for p in zone.polygon])], COLOURS[zone.kind])
    canvas = np.asarray(cv2.addWeighted(canvas, 0.35, picture, 0.65, 0), np.uint8)
    for zone in drawing.zones:
        corners = np.array([pixel(p) for p in zone.polygon])
        cv2.polylines(canvas, [corners], True, COLOURS[zone.kind], 2, cv2.LINE_AA)
        left, top = corners.min(axis=0)
        _label(canvas, f"{zone.zone_id} ({zone.kind})", (int(left) + 6, int(top) + 22))
    for line in drawing.lines:
        a, b = (np.array(pixel(p)) for p in (line.a, line.b))
        cv2.line(canvas, a.tolist(), b.tolist(), RED, 3, cv2.LINE_AA)
        # To the right of who looks from a to b, in a picture whose y grows downwards.
        along = (b - a) / np.linalg.norm(b - a)
        middle, inwards = (a + b) / 2, np.array([-along[1], along[0]]) * 0.08 * width
        tip = (middle + inwards).astype(int).tolist()
        cv2.arrowedLine(canvas, middle.astype(int).tolist(), tip, RED, 3, cv2.LINE_AA, 0, 0.3)
        start = middle + inwards * 1.15
        _label(canvas, f"{line.line_id}: entry", (int(start[0]), int(start[1]) + 6))
    _label(canvas, title, (10, 26))
    return canvas


def _label(canvas: Any, text: str, at: tuple[int, int]) -> None:
    import cv2

    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.6
    (width, height), below = cv2.getTextSize(text, font, size, 1)
    x = max(0, min(at[0], canvas.shape[1] - width - 4))
    y = max(height + 4, min(at[1], canvas.shape[0] - below - 2))
    cv2.rectangle(canvas, (x - 3, y - height - 4), (x + width + 3, y + below), GREY, -1)
    cv2.putText(canvas, text, (x, y), font, size, WHITE, 1, cv2.LINE_AA)


def _background(frame: Path | None) -> Image:
    import cv2
    import numpy as np

    if frame is None:
        return np.full((*BLANK, 3), 30, np.uint8)
    if not frame.is_file():
        raise ZonesError(f"{frame} does not exist: name a picture or a video.")
    picture = cv2.imread(str(frame))
    if picture is None:
        video = cv2.VideoCapture(str(frame))
        _, picture = video.read()
        video.release()
    if picture is None:
        raise ZonesError(f"{frame} is neither a picture nor a video that OpenCV can read.")
    return np.asarray(picture, np.uint8)
