"""The pages: a head, a line on how current they are, and sections that renew themselves.

A page is built once; then only changes are sent to the browser, over a websocket.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from urllib.parse import quote

from nicegui import run, ui

from conf.stores import Branch
from dashboard import charts, sections
from dashboard.board import Board, BoardView, Snapshot
from dashboard.sections import Html
from dashboard.sessions import Identity, Sessions

PAGES = {
    "/": "Today",
    "/store": "Store",
    "/orders": "Orders",
    "/pipeline": "Pipeline",
    "/dead-letters": "Dead letters",
    "/quality": "Quality",
}
SIGNED_OUT = "/login"


class Screen:
    """One page in one browser.

    Args:
        board: what everybody looks at.
        path: of the page, one of `PAGES`.
        sessions: the page is left when that of its browser ends.
    """

    def __init__(self, board: Board, path: str, sessions: Sessions) -> None:
        self._board, self._sessions = board, sessions
        self._identity: Identity = ui.context.client.request.state.identity
        self._renewals: list[Callable[[Snapshot], object]] = []
        head = sections.render("head", pages=PAGES, path=path, identity=self._identity)
        with ui.header(fixed=False).classes("head"):
            ui.html(head, sanitize=False)
        _text("h1", PAGES[path])
        self._status = ui.html(sanitize=False).classes("wide-part")

    def part(self, make: Html, heading: str | None = None, note: str = "") -> None:
        """A section whose HTML is made again of every snapshot."""
        with ui.element("section").classes("part"):
            if heading:
                _text("h2", heading)
            if note:
                _text("p", note).classes("soft")
            self._html(make)

    def details(self, make: Html, summary: str) -> None:
        """The same as numbers, closed until somebody opens it."""
        with ui.element("details").classes("part"):
            _text("summary", summary)
            self._html(make)

    def _html(self, make: Html) -> None:
        html = ui.html(sanitize=False)
        self._renewals.append(lambda snapshot: html.set_content(sections.shown(make, snapshot)))

    def chart(
        self, make: Callable[[Snapshot], charts.Options | None], heading: str, empty: str
    ) -> None:
        """A chart; in its place a sentence, where it has no data or cannot be read."""
        with ui.element("section").classes("part figure"):
            _text("h2", heading)
            words = ui.html(sanitize=False)
            chart = ui.echart({}, renderer="svg").classes("chart")
            chart.props["role"], chart.props["aria-label"] = "img", heading

        def draw(snapshot: Snapshot) -> str:
            options = make(snapshot)
            if options is None:
                return sections.nothing(empty)
            if options != chart.options:
                chart.options.clear()
                chart.options.update(options)
            return ""

        def renew(snapshot: Snapshot) -> None:
            text = sections.shown(draw, snapshot)
            words.set_content(text)
            words.set_visibility(bool(text))
            chart.set_visibility(not text)

        self._renewals.append(renew)

    def start(self) -> None:
        """Show the present view, and renew it from now on."""
        self._show(self._board.glance())
        ui.timer(self._board.settings.console.refresh_seconds, self._renew)

    async def _renew(self) -> None:
        if not self._sessions.use(self._identity.session):
            ui.navigate.to(SIGNED_OUT)
            return
        view = await run.io_bound(self._board.fresh)
        if view is not None:  # the console is ending
            self._show(view)

    def _show(self, view: BoardView) -> None:
        self._status.set_content(sections.status(view, self._board.settings))
        if view.snapshot is not None:
            for renew in self._renewals:
                renew(view.snapshot)


class Pages:
    """The sections of each page."""

    def __init__(self, board: Board, sessions: Sessions) -> None:
        self._board, self._sessions = board, sessions
        self._branches = board.stores.branches

    def today(self, branch: str | None = None) -> None:
        """Every branch beside the same hours before; one of them over time."""
        screen, one = self._screen("/"), self._branch(branch)
        screen.part(
            sections.branch_cards,
            "Branches",
            "A day is the hours that begin on it where the branch is. Conversion: orders by "
            "visitors, over the hours whose visitors are known.",
        )
        self._choice("/", one)
        screen.chart(
            partial(charts.hours_chart, branch=one),
            f"{one.name} today by the hour, {one.timezone}",
            "No figures today yet.",
        )
        screen.details(partial(sections.hours_table, branch=one), "The hours as a table")
        screen.chart(
            partial(charts.minutes_chart, branch=one),
            f"{one.name} by the minute, last 60 minutes, {one.timezone}",
            "Nobody came in and nothing was sold in the last 60 minutes.",
        )
        screen.start()

    def store(self, branch: str | None = None) -> None:
        """The map of one branch."""
        screen, one = self._screen("/store"), self._branch(branch)
        self._choice("/store", one)
        screen.part(
            partial(sections.floor_map, branch=one),
            one.name,
            "What each camera looks at. The deeper a zone is coloured, the longer people are in "
            "it; an arrow points into the shop.",
        )
        screen.start()

    def orders(self) -> None:
        """The funnel, and what is stuck in it."""
        screen = self._screen("/orders")
        screen.part(
            sections.order_funnel,
            "Funnel of today",
            "Orders count in the hour of their creation, by the status that they have now.",
        )
        screen.part(sections.stuck_orders, "Stuck orders")
        screen.start()

    def pipeline(self) -> None:
        """Streams and dead letters."""
        screen = self._screen("/pipeline")
        screen.part(sections.pipeline, "Streams")
        with ui.element("div").props("id=letters"):
            screen.part(sections.dead_letters, "Dead letters")
        screen.start()

    def quality(self) -> None:
        """Validation, and the way to its reports."""
        screen = self._screen("/quality")
        screen.part(sections.quality, "Every layer")
        screen.start()

    def _screen(self, path: str) -> Screen:
        return Screen(self._board, path, self._sessions)

    def _branch(self, branch_id: str | None) -> Branch:
        return {b.branch_id: b for b in self._branches}.get(branch_id or "", self._branches[0])

    def _choice(self, path: str, now: Branch) -> None:
        """Links, so that a branch can be kept as a bookmark."""
        with ui.element("nav").classes("choice").props('aria-label="Branch"'):
            for branch in self._branches:
                link = ui.link(branch.name, f"{path}?branch={quote(branch.branch_id)}")
                if branch is now:
                    link.props("aria-current=true")


def _text(tag: str, text: str) -> ui.html:
    """An element with nothing but text in it; names of branches come from a file."""
    return ui.html(escape(text), tag=tag, sanitize=False)


def add_pages(board: Board, sessions: Sessions) -> None:
    """Register the pages at their addresses with NiceGUI."""
    ui.add_head_html('<link rel="stylesheet" href="/style.css">', shared=True)
    pages = Pages(board, sessions)
    for path, title in PAGES.items():
        if path == "/dead-letters":  # plain HTML, by `dashboard.dead_letters`
            continue
        ui.page(path, title=f"{title} · storelake")(getattr(pages, title.lower()))
