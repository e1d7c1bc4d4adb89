"""The pages: a head, a line on how current they are, and sections that renew themselves.

A page is built once; then only changes are sent to the browser, over a websocket.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial
from html import escape
from urllib.parse import quote

from nicegui import run, ui

from conf.stores import Branch
from dashboard import charts, sections, today
from dashboard.board import Board, BoardView, Snapshot
from dashboard.live import Live
from dashboard.sections import Html
from dashboard.sessions import Identity, Sessions

PAGES = {
    "/": "Today",
    "/store": "Store",
    "/live": "Live",
    "/orders": "Orders",
    "/pipeline": "Pipeline",
    "/dead-letters": "Dead letters",
    "/quality": "Quality",
    "/zones": "Zones",
}
SIGNED_OUT = "/login"


class Screen:
    """One page in one browser.

    Args:
        board: what everybody looks at.
        path: of the page, one of `PAGES`.
        sessions: the page is left when that of its browser ends.
        day: the day shown, in the past; None: the present.
    """

    def __init__(
        self, board: Board, path: str, sessions: Sessions, day: date | None = None
    ) -> None:
        self._board, self._sessions, self._day = board, sessions, day
        self._identity: Identity = ui.context.client.request.state.identity
        self._renewals: list[Callable[[Snapshot], object]] = []
        self._path = path
        with ui.header(fixed=False).classes("head"):
            self._head = ui.html(sanitize=False)
        _text("h1", f"{day:%A, %d %B %Y}" if day else PAGES[path])
        self._status = ui.html(sanitize=False).classes("wide-part")
        self._alerts: ui.html | None = None

    def alerts(self) -> None:
        """The list of what is wrong, which needs no snapshot."""
        with ui.element("section").classes("part").props("id=alerts"):
            _text("h2", "Alerts")
            self._alerts = ui.html(sanitize=False)

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
        read = partial(self._board.on, self._day) if self._day else self._board.fresh
        view = await run.io_bound(read)
        if view is not None:  # the console is ending
            self._show(view)

    def _show(self, view: BoardView) -> None:
        self._status.set_content(sections.status(view, self._board.settings))
        self._head.set_content(sections.head(view, PAGES, self._path, self._identity))
        if self._alerts is not None:
            self._alerts.set_content(sections.alerts(view))
        shown = view.past if self._day else view.snapshot
        if shown is not None:
            for renew in self._renewals:
                renew(shown)


class Pages:
    """The sections of each page."""

    def __init__(self, board: Board, sessions: Sessions, live: Live) -> None:
        self._board, self._sessions, self._live = board, sessions, live

    def today(self, branch: str | None = None, date: str | None = None) -> None:
        """All branches beside the same hours before; one of them over time. Any day by `date`."""
        one = self._branch(branch)
        latest = today.latest_day(one)
        day, fault = today.parse_day(date, latest)
        screen = Screen(self._board, "/", self._sessions, day)
        ui.html(today.day_picker(one, day, latest, fault), sanitize=False).classes("wide-part")
        screen.alerts()
        if len(self._branches) > 1:
            screen.part(today.chain, "All branches")
        screen.part(today.branch_cards, "Branches", today.HOW_COUNTED)
        self._choice("/", one, f"&date={day}" if day else "")
        screen.chart(
            partial(charts.hours_chart, branch=one),
            f"{one.name} by the hour, {one.timezone}",
            "No figures today yet." if day is None else "No figures of this day.",
        )
        screen.details(partial(today.hours_table, branch=one), "The hours as a table")
        if day is None:
            screen.chart(
                partial(charts.minutes_chart, branch=one),
                f"{one.name} by the minute, last 60 minutes, {one.timezone}",
                "Nobody came in and nothing was sold in the last 60 minutes.",
            )
        screen.part(
            partial(today.week, branch=one),
            f"{one.name} by weekday and hour",
            "Means of the four weeks before, by the clock of the branch. Power hours are the "
            "fewest hours of the week that make half of the visitors, or of the sales.",
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

    def live(
        self, branch: str | None = None, day: str | None = None, hour: str | None = None
    ) -> None:
        """Who is before the cameras of one branch, and where people stood."""
        screen, one = self._screen("/live"), self._branch(branch)
        self._choice("/live", one)
        self._live.show(one, day, hour)
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

    @property
    def _branches(self) -> tuple[Branch, ...]:
        return self._board.stores.branches

    def _screen(self, path: str) -> Screen:
        return Screen(self._board, path, self._sessions)

    def _branch(self, branch_id: str | None) -> Branch:
        return {b.branch_id: b for b in self._branches}.get(branch_id or "", self._branches[0])

    def _choice(self, path: str, now: Branch, more: str = "") -> None:
        """Links, so that a branch can be kept as a bookmark; `more` ends their query."""
        with ui.element("nav").classes("choice").props('aria-label="Branch"'):
            for branch in self._branches:
                link = ui.link(branch.name, f"{path}?branch={quote(branch.branch_id)}{more}")
                if branch is now:
                    link.props("aria-current=true")


def _text(tag: str, text: str) -> ui.html:
    """An element with nothing but text in it; names of branches come from a file."""
    return ui.html(escape(text), tag=tag, sanitize=False)


def add_pages(board: Board, sessions: Sessions, live: Live) -> None:
    """Register the pages at their addresses with NiceGUI."""
    ui.add_head_html('<link rel="stylesheet" href="/style.css">', shared=True)
    ui.add_head_html('<script src="/signed_out.js" type="module"></script>', shared=True)
    pages = Pages(board, sessions, live)
    for path, title in PAGES.items():
        if make := getattr(pages, title.lower(), None):  # others are in modules of their own
            ui.page(path, title=f"{title} · storelake")(make)
