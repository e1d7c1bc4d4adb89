"""The pages of dead letters: find, read, edit and redrive; plain HTML, since values are large.

Operators work with the role `steward` of Postgres, by the same functions as `storelake dlq`; a
viewer sees counts by the console's own role. Each body that is shown is audited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import Annotated, Any

import psycopg
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from conf.errors import StorelakeError
from conf.settings import Settings
from dashboard import sections
from dashboard.board import Board
from dashboard.dead_letters_actions import all_of_rule, choose, store_edit
from dashboard.dead_letters_view import (
    PAGE,
    PATH,
    STATES,
    address,
    meanings,
    page_of,
    read_filter,
    view_dead_letter,
    view_value,
)
from dashboard.forms import read_body, read_form
from dashboard.guard import require_operator
from dashboard.pages import PAGES
from dashboard.redrives import Redrives
from dashboard.sessions import Identity
from streaming.dlq_ids import DlqError, read_id
from streaming.sinks.dlq_edits import (
    require_known,
)
from streaming.sinks.dlq_store import open_dead_letters

MOST_FORM = 8 << 20
"""Bytes of a form: 1 MiB of a value, of which a form may make six times as much."""
SHORT_SECONDS = 3.0
"""A redrive that ends so soon is shown at its end."""

Operator = Annotated[Identity, Depends(require_operator)]


class DeadLetterPages:
    """Requests about dead letters.

    Args:
        settings: of the deployment.
        board: what everybody looks at.
        redrives: of this console.
    """

    def __init__(self, settings: Settings, board: Board, redrives: Redrives) -> None:
        self._settings, self._board, self._redrives = settings, board, redrives

    def add_to(self, app: FastAPI) -> None:
        """Register the addresses."""
        app.get(PATH)(self.page)
        app.get(f"{PATH}/raw")(self.raw)
        app.post(f"{PATH}/check")(self.check)
        app.post(f"{PATH}/edit")(self.edit)
        app.get(f"{PATH}/redrive")(self.confirm)
        app.post(f"{PATH}/redrive")(self.redrive)

    def page(self, request: Request) -> Response:
        """The list, or one dead letter by `id`; counts for a viewer."""
        identity: Identity = request.state.identity
        if identity.role != "operator":
            return self._page(request, "dead_letters_counts")
        try:
            if identifier := request.query_params.get("id"):
                return self._one(request, read_id(identifier))
            return self._list(request)
        except StorelakeError as error:
            return self._failed(request, error)

    def raw(self, request: Request, identity: Operator) -> Response:
        """The bytes of the value, as a file."""
        try:
            with open_dead_letters(self._settings, _actor(identity)) as store:
                entry = store.open(read_id(request.query_params.get("id", "")))
        except StorelakeError as error:
            return self._failed(request, error)
        name = entry.id.replace("/", "-")
        headers = {"Content-Disposition": f'attachment; filename="{name}.bin"'}
        return Response(entry.value or b"", headers=headers, media_type="application/octet-stream")

    async def check(self, request: Request, _: Operator) -> Response:
        """What the contract objects to in a text that is being edited."""
        body = await read_body(request, MOST_FORM)
        if body is None:
            return HTMLResponse("That is too large, or it came too slowly.", 413)
        view = await run_in_threadpool(view_value, body)
        return HTMLResponse(sections.render("dead_letter_check", value=view))

    async def edit(self, request: Request, identity: Operator) -> Response:
        """Store an edited value; where that fails, the page has the text and the reason."""
        return await self._with_form(self._edit, request, identity)

    def confirm(self, request: Request, identity: Operator) -> Response:
        """How many dead letters of a rule a redrive would send."""
        try:
            selection = all_of_rule(self._settings, request.query_params)
            with open_dead_letters(self._settings, _actor(identity)) as store:
                count = store.count(selection)
        except StorelakeError as error:
            return self._failed(request, error)
        return self._page(
            request, "dead_letters_redrive", selection=selection, count=count, address=address
        )

    async def redrive(self, request: Request, identity: Operator) -> Response:
        """Send one dead letter back, or all of a rule."""
        return await self._with_form(self._redrive, request, identity)

    async def _with_form(
        self, act: Callable[..., Response], request: Request, identity: Identity
    ) -> Response:
        form = await read_form(request, MOST_FORM)
        if form is None:
            error = DlqError("The form was too large or too slow: nothing is stored or sent.")
            return await run_in_threadpool(self._failed, request, error)
        return await run_in_threadpool(act, request, identity, form)

    def _list(self, request: Request) -> Response:
        query = request.query_params
        selection, after = read_filter(query), query.get("after")
        topics = self._settings.kafka.order_topics
        require_known(selection, topics)
        with open_dead_letters(self._settings, _actor(request.state.identity)) as store:
            heads = store.heads(selection, PAGE + 1, read_id(after) if after else None)
            counts = store.counts(replace(selection, rule=None))
        return self._page(
            request,
            "dead_letters",
            selection=selection,
            heads=heads[:PAGE],
            more=len(heads) > PAGE,
            after=after,
            counts=counts,
            topics=topics,
            rules=meanings(),
            states=(*STATES, "all"),
            address=address,
        )

    def _one(
        self,
        request: Request,
        identifier: str,
        text: str | None = None,
        problem: str = "",
        status: int = 200,
    ) -> Response:
        with open_dead_letters(self._settings, _actor(request.state.identity)) as store:
            view = view_dead_letter(store, store.open(identifier), text)
        return self._page(
            request, "dead_letter", status, view=view, problem=problem, rules=meanings()
        )

    def _edit(self, request: Request, identity: Identity, form: Mapping[str, str]) -> Response:
        text = form.get("text", "")
        try:
            identifier = read_id(request.query_params.get("id", ""))
            try:
                version = form.get("version", "")
                store_edit(self._settings, _actor(identity), identifier, text, version)
            except DlqError as error:
                return self._one(request, identifier, text, str(error), 409)
        except StorelakeError as error:
            return self._failed(request, error, text)
        return RedirectResponse(page_of(identifier), 303)

    def _redrive(self, request: Request, identity: Identity, form: Mapping[str, str]) -> Response:
        try:
            target, subject, selection, confirmed = choose(self._settings, _actor(identity), form)
            self._redrives.start(_actor(identity), subject, selection, confirmed)
        except StorelakeError as error:
            return self._failed(request, error)
        self._redrives.wait(SHORT_SECONDS)
        return RedirectResponse(target, 303)

    def _failed(self, request: Request, error: StorelakeError, text: str = "") -> Response:
        """The reason, and the text of an edit, which is not lost."""
        status = 503 if isinstance(error.__cause__, psycopg.Error) else 400
        return self._page(request, "dead_letters_failed", status, reason=str(error), text=text)

    def _page(
        self, request: Request, template: str, status: int = 200, **values: Any
    ) -> HTMLResponse:
        view, identity = self._board.fresh(), request.state.identity
        html = sections.render(
            template,
            **values,
            head=sections.head(view, PAGES, PATH, identity),
            path=PATH,
            identity=identity,
            nonce=request.state.nonce,
            status=sections.status(view, self._settings),
            redrive=self._redrives.state if identity.role == "operator" else None,
            counted=view.snapshot and sections.shown(sections.dead_letters, view.snapshot),
            now=datetime.now(timezone.utc),
        )
        return HTMLResponse(html, status)


def _actor(identity: Identity) -> str:
    return f"console: {identity.name}"
