"""The page on which an operator draws the lines and zones of a camera, and what it requests.

The page is plain HTML: nothing on it is renewed by the server, so nothing on it gets lost when the
console starts again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any

import psycopg
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from psycopg_pool import PoolTimeout
from starlette.concurrency import run_in_threadpool

from conf.settings import Settings, SettingsError
from conf.stores import Branch, Camera, Stores, load_stores
from dashboard.assets import add_assets
from dashboard.board import BoardView, ReadError
from dashboard.guard import require_operator
from dashboard.layout_edit import LayoutEdit, check_edit
from dashboard.layout_file import ChangedMeanwhileError, add_layout, digest
from dashboard.pages import PAGES
from dashboard.reader import ReadSnapshot
from dashboard.recompute import Recomputation, recompute_since
from dashboard.sections import head, render
from dashboard.sessions import Identity
from dashboard.stills import StillError, fetch_still

log = logging.getLogger(__name__)
PATH = "/zones"
SCRIPTS = ("zones.js", "zones_picture.js")

DAY = timedelta(days=1)

Heat = Callable[[Camera, datetime, datetime], str]
"""Camera, start, end (UTC) -> SVG of where people stood. Raises `ReadError`."""
Operator = Annotated[Identity, Depends(require_operator)]


class ZoneEditor:
    """The addresses below `/zones`.

    Args:
        settings: with the store file, which each request reads again.
        look: opens a snapshot of the database.
        saved: called with the stores of a file that was saved.
        heat: makes heat maps; None: there are none.
        view: for the badge of the head.
    """

    def __init__(
        self,
        settings: Settings,
        look: Callable[[], AbstractContextManager[ReadSnapshot]],
        saved: Callable[[Stores], None] = lambda _: None,
        heat: Heat | None = None,
        view: Callable[[], BoardView] = BoardView,
    ) -> None:
        self._settings, self._look, self._saved, self._heat = settings, look, saved, heat
        self._view = view
        self._file = settings.stores_file

    def add_to(self, app: FastAPI) -> None:
        """Register the addresses."""
        app.get(PATH)(self.page)
        add_assets(app, *SCRIPTS)
        app.get(f"{PATH}/still")(self.still)
        app.get(f"{PATH}/heat")(self.heat)
        app.post(f"{PATH}/check")(self.check)
        app.post(f"{PATH}/save")(self.save)

    def page(self, request: Request, branch: str = "", camera: str = "") -> HTMLResponse:
        """The newest layout of a camera, to be changed by an operator."""
        identity: Identity = request.state.identity
        known, stores, reason = "", None, ""
        try:
            # The digest first: a file that changes in between is refused when it is saved.
            known = digest(self._file.read_bytes())
            stores = load_stores(self._file)
        except (OSError, SettingsError) as error:
            reason = str(error)
        chosen = _choose(stores, branch, camera) if stores else None
        layout = stores.layouts(chosen[1])[-1] if stores and chosen and chosen[1] else None
        html = render(
            "zones",
            head=head(self._view(), PAGES, PATH, identity),
            identity=identity,
            nonce=request.state.nonce,
            file=self._file,
            branches=stores.branches if stores else (),
            branch=chosen[0] if chosen else None,
            camera=chosen[1] if chosen else None,
            layout=layout,
            shapes=_shapes(layout, known) if layout else None,
            is_writable=os.access(self._file.resolve().parent, os.W_OK),
            has_heat=self._heat is not None,
            reason=reason,
        )
        return HTMLResponse(html)

    def check(self, edit: LayoutEdit, _: Operator) -> JSONResponse:
        """Faults and probable mistakes of a layout."""
        try:
            checked = check_edit(edit, load_stores(self._file), _now())
        except SettingsError as error:
            return _refused(409, str(error))
        return JSONResponse(checked.answer())

    def save(self, edit: LayoutEdit, operator: Operator) -> JSONResponse:
        """Add a layout to the store file; 409 where that is another one by now."""
        try:
            return self._save(edit, operator.name)
        except (OSError, SettingsError) as error:
            return _refused(409, str(error))

    def _save(self, edit: LayoutEdit, operator: str) -> JSONResponse:
        now = _now()
        if digest(self._file.read_bytes()) != edit.known:
            return self._changed(edit.camera)
        checked = check_edit(edit, load_stores(self._file), now)
        layout = checked.layout
        if layout is None:
            return JSONResponse(checked.answer(), 422)
        try:
            known = add_layout(self._file, edit.camera, layout, edit.known)
        except ChangedMeanwhileError:
            return self._changed(edit.camera)
        self._saved(load_stores(self._file))
        log.info("layout %d of camera %s by %s", layout.version, edit.camera, operator)
        since = self._recomputation(layout.valid_from, now)
        saved = {
            "known": known,
            "version": layout.version,
            "valid_from": f"{layout.valid_from:%Y-%m-%d %H:%M:%S} UTC",
            "is_future": layout.valid_from > now,
        }
        return JSONResponse({**saved, "recompute": since.answer() if since else None})

    async def still(self, camera: str, request: Request, operator: Operator) -> Response:
        """The newest frame of a camera, as JPEG; the log records who has seen which camera."""
        try:
            _, found = load_stores(self._file).camera(camera)
            one = await run_in_threadpool(fetch_still, self._settings, found.camera_id)
        except (StillError, SettingsError) as error:
            return _refused(503, str(error))
        address = request.client.host if request.client else ""
        log.info("still of camera %s shown to %s at %s", camera, operator.name, address)
        headers = {"Cache-Control": "no-store", "X-Captured-At": one.captured_at}
        return Response(one.jpeg, media_type="image/jpeg", headers=headers)

    def heat(self, camera: str, _: Operator) -> Response:
        """Where people stood in the last 24 hours, as SVG."""
        end = _now().replace(second=0, microsecond=0)
        try:
            found = load_stores(self._file).camera(camera)[1]
            svg = self._heat(found, end - DAY, end) if self._heat else ""
        except (ReadError, SettingsError) as error:
            return _refused(503, str(error))
        return Response(svg, media_type="image/svg+xml")

    def _changed(self, camera: str) -> JSONResponse:
        stores = load_stores(self._file)
        newest = stores.layouts(stores.camera(camera)[1])[-1].version
        return JSONResponse(
            {
                "known": digest(self._file.read_bytes()),
                "message": "The store file has changed since this page was opened. Nothing was "
                f"written, and your layout is still here. The newest layout of {camera} "
                f"is {newest}: save again to add yours after it.",
            },
            409,
        )

    def _recomputation(self, since: datetime, now: datetime) -> Recomputation | None:
        try:
            with self._look() as snapshot:
                return recompute_since(self._settings, snapshot, since, now)
        except (psycopg.Error, PoolTimeout):  # the cost is not known then
            return recompute_since(self._settings, None, since, now)


def _choose(stores: Stores, branch_id: str, camera_id: str) -> tuple[Branch, Camera | None]:
    """A branch and its camera as named; the first ones for names that are unknown."""
    for branch in stores.branches:
        for camera in branch.cameras:
            if camera.camera_id == camera_id:
                return branch, camera
    with_camera = [b for b in stores.branches if b.cameras] or stores.branches
    named = [b for b in stores.branches if b.branch_id == branch_id]
    branch = (named or with_camera)[0]
    return branch, next(iter(branch.cameras), None)


def _shapes(layout: Any, known: str) -> dict[str, Any]:
    shapes = layout.model_dump(mode="json", include={"lines", "zones"}, exclude_none=True)
    return {**shapes, "known": known}


def _refused(code: int, message: str) -> JSONResponse:
    return JSONResponse({"message": message}, code)


def _now() -> datetime:
    return datetime.now(timezone.utc)
