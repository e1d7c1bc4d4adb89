"""The page Live: who is before each camera, and where people stood; no picture of anybody."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup
from nicegui import run, ui

from conf.stores import Branch, Camera, Layout
from dashboard import words
from dashboard.board import Board, ReadError
from dashboard.branches import is_silent
from dashboard.layout import line_shape, zone_shape
from dashboard.live_heat import COLUMNS, ROWS, HeatMaps, bounds, heat_svg
from dashboard.live_lake import DetectionsReader
from dashboard.live_period import Period, choose
from dashboard.live_tracks import Box, CameraTracks, LiveTracks, LiveView, Track
from dashboard.sections import render

UNKNOWN_SIZE = (4, 3)
SIZE = 1000
"""Width and height of the coordinates of boxes and traces."""
STRONG = timedelta(seconds=3)
"""The last part of a trace, which has a stronger colour."""
HEAT_SECONDS = 60.0
"""Between two readings of a heat map that is not over."""


class Live:
    """What the page of every browser shares.

    Args:
        board: settings, stores, and the newest minute of each camera.
        detections: the table.
    """

    def __init__(self, board: Board, detections: DetectionsReader) -> None:
        self.board = board
        self.beat = board.settings.console.refresh_seconds
        self.tracks = LiveTracks(detections, self.beat)
        self.heat = HeatMaps(detections, lambda: board.stores)
        self.sizes: dict[str, tuple[int, int]] = {}  # of pictures, by camera

    def show(self, branch: Branch, day: str | None, hour: str | None) -> None:
        """The sections of the page of one branch; see `live_period.choose`."""
        now = datetime.now().astimezone()
        kept = self.board.settings.retention.detections
        period = choose(day, hour, now, branch.timezone, kept)
        layouts = [(camera, self.board.stores.layout_at(camera, now)) for camera in branch.cameras]
        ui.html(render("live_now", branch=branch), sanitize=False)
        trouble = ui.html(sanitize=False)
        with ui.element("div").classes("floors"):
            cards = [LiveCamera(self, branch, camera, layout) for camera, layout in layouts]

        async def renew() -> None:
            view = await run.io_bound(self.tracks.fresh, branch)
            if view is not None:  # None: the console is ending
                trouble.set_content(render("broken", reason=str(view.error)) if view.error else "")
                for card in cards:
                    card.renew(view)

        ui.timer(self.beat, renew)
        self._show_heat(branch, period, layouts)

    def _show_heat(
        self, branch: Branch, period: Period, layouts: list[tuple[Camera, Layout | None]]
    ) -> None:
        form = render(
            "live_period",
            branch=branch,
            period=period,
            kept=words.seconds(self.board.settings.retention.detections.total_seconds()),
        )
        with ui.element("section").classes("part").props("id=heat"):
            ui.html(form, sanitize=False)
            with ui.element("div").classes("floors"):
                reading = render("nothing", sentence="Reading the lake …")
                cards = [(*one, ui.html(reading, sanitize=False)) for one in layouts]

        async def renew() -> None:
            for camera, layout, html in cards:
                text = await run.io_bound(self._heat_card, camera, layout, period)
                if text is not None:
                    html.set_content(text)

        is_over = period.end <= datetime.now().astimezone()
        ui.timer(0 if is_over else HEAT_SECONDS, renew, once=is_over)

    def _heat_card(self, camera: Camera, layout: Layout | None, period: Period) -> str:
        try:
            grid = self.heat.heat_grid(camera, period.start, period.end)
        except ReadError as error:
            return render("broken", reason=str(error))
        return render(
            "live_heat",
            camera=camera,
            minutes=grid.sum() / 60,
            scale=[low / 60 for low in bounds(grid)],
            **shapes(layout),
            cell=f"1/{COLUMNS} by 1/{ROWS}",
            size=self.sizes.get(camera.camera_id, UNKNOWN_SIZE),
            heat=Markup(heat_svg(grid)),  # noqa: S704 - numbers only
        )


class LiveCamera:
    """One camera in one browser: a status, and boxes and traces over its layout."""

    def __init__(self, live: Live, branch: Branch, camera: Camera, layout: Layout | None) -> None:
        self._live, self._branch, self._camera, self._layout = live, branch, camera, layout
        self._shown: datetime | None = None
        with ui.element("figure").classes("card") as card:
            ui.html(render("live_head", camera=camera, layout=layout), sanitize=False)
            self._state = ui.html(sanitize=False)
            self._picture = ui.html(sanitize=False)
        card.props["id"] = f"live-{camera.camera_id}"

    def renew(self, view: LiveView) -> None:
        """Show a newer view."""
        tracks = view.cameras.get(self._camera.camera_id)
        current = tracks if tracks and view.at and tracks.is_current(view.at) else None
        self._state.set_content(self._status(view, tracks, current))
        if current:
            self._live.sizes[self._camera.camera_id] = current.size
        # The same frame again would repeat the movement to it.
        if current is None or current.newest != self._shown or not self._picture.content:
            self._picture.set_content(self._draw(current))
        self._shown = current.newest if current else None

    def _draw(self, tracks: CameraTracks | None) -> str:
        people = people_svg(tracks, self._shown, self._live.beat) if tracks else ""
        return render(
            "live_picture",
            camera=self._camera,
            **shapes(self._layout),
            people=Markup(people),  # noqa: S704 - numbers only
            size=self._live.sizes.get(self._camera.camera_id, UNKNOWN_SIZE),
        )

    def _status(
        self, view: LiveView, tracks: CameraTracks | None, current: CameraTracks | None
    ) -> str:
        zones = self._layout.zones if self._layout else ()
        counts = [(zone.zone_id, current.people_in(zone)) for zone in zones] if current else []
        minute, silent = self._silence()
        return render(
            "live_status",
            view=view,
            tracks=tracks,
            people=len(current.present) if current else None,
            counts=[(zone_id, count) for zone_id, count in counts if count],
            minute=minute,
            silent=silent,
        )

    def _silence(self) -> tuple[datetime | None, bool]:
        """The newest minute with a frame (UTC), and whether the camera is silent."""
        board = self._live.board
        snapshot = board.view.snapshot
        if snapshot is None or isinstance(found := snapshot.answers["cameras"], ReadError):
            return None, False
        minutes = {row.camera_id: row.minute for row in found}
        minute = minutes.get(self._camera.camera_id)
        limit = board.settings.console.stale_after
        return minute, self._branch.is_open(snapshot.at) and is_silent(minute, snapshot.at, limit)


def people_svg(tracks: CameraTracks, since: datetime | None, seconds: float) -> str:
    """Boxes, feet and traces: an SVG that fills its container. No id of anybody is in it.

    Args:
        tracks: of one camera.
        since: capture of the frame that was shown before; people walk from there to their place.
        seconds: how long they walk.
    """
    traces = "".join(_trace(track, tracks.newest) for track in tracks.tracks.values())
    people = "".join(_person(track, since) for track in tracks.present)
    return (
        f'<svg class="people" viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" '
        f'style="--beat: {seconds:g}s" aria-hidden="true">{traces}{people}</svg>'
    )


def _trace(track: Track, newest: datetime) -> str:
    strong = [box for box in track if newest - box.at <= STRONG]
    return "".join(
        f'<polyline class="{name}" points="{" ".join("{},{}".format(*_feet(b)) for b in boxes)}"/>'
        for name, boxes in (("trace old", track), ("trace", strong))
        if len(boxes) > 1
    )


def _person(track: Track, since: datetime | None) -> str:
    now = track[-1]
    before = next((box for box in reversed(track) if since and box.at <= since), now)
    (x, y), (from_x, from_y) = _feet(now), _feet(before)
    left, top = round(now.x1 * SIZE), round(now.y1 * SIZE)
    return (
        f'<g class="person" style="--dx: {from_x - x}px; --dy: {from_y - y}px">'
        f'<rect x="{left}" y="{top}" width="{round(now.x2 * SIZE) - left}" height="{y - top}"/>'
        f'<path class="feet" d="M{x} {y}h0"/></g>'
    )


def _feet(box: Box) -> tuple[int, int]:
    x, y = box.feet
    return round(x * SIZE), round(y * SIZE)


def shapes(layout: Layout | None) -> dict[str, Any]:
    """Zones and lines of a layout, as the templates take them."""
    return {
        "zones": [zone_shape(zone) for zone in layout.zones] if layout else [],
        "lines": [line_shape(line) for line in layout.lines] if layout else [],
    }
