"""The pages: a head, a line on how current they are, and sections that renew themselves.

A page is built once; then only changes are sent to the browser, over a websocket.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from html import escape
from pathlib import Path
from urllib.parse import quote

from nicegui import run, ui

from conf.stores import Branch
from dashboard import charts, queries, sections
from dashboard.board import Board, BoardView, ReadFault, Snapshot
from dashboard.branches import BranchToday

PAGES = {
    "/": "Today",
    "/store": "Store",
    "/orders": "Orders",
    "/pipeline": "Pipeline",
    "/quality": "Quality",
}
STYLE = Path(__file__).parent / "style.css"
NAVIGATION = (
    '<nav aria-label="Pages"><strong>storelake</strong>{links}</nav>'  # made of `PAGES` alone
)

Html = Callable[[Snapshot], str]


class Screen:
    """One page in one browser.

    Args:
        board: what everybody looks at.
        path: of the page, one of `PAGES`.
    """

    def __init__(self, board: Board, path: str) -> None:
        self._board = board
        self._renewals: list[Callable[[Snapshot], None]] = []
        links = "".join(
            f'<a href="{to}"{" aria-current=page" if to == path else ""}>{name}</a>'
            for to, name in PAGES.items()
        )
        with ui.header(fixed=False).classes("head"):
            ui.html(NAVIGATION.format(links=links), sanitize=False)
        _text("h1", PAGES[path])
        self._status = ui.html(sanitize=False).classes("wide-part")

    def part(self, make: Html, heading: str | None = None, note: str = "") -> None:
        """A section whose HTML is made again of every snapshot."""
        with ui.element("section").classes("part"):
            if heading:
                _text("h2", heading)
            if note:
                _text("p", note).classes("soft")
            html = ui.html(sanitize=False)
        self._renew_html(html, make)

    def chart(
        self,
        make: Callable[[Snapshot], charts.Options | ReadFault | None],
        heading: str,
        empty: str,
    ) -> None:
        """A chart; in its place a sentence, where there is nothing to draw or no way to read it."""
        with ui.element("section").classes("part figure"):
            _text("h2", heading)
            words = ui.html(sanitize=False)
            chart = ui.echart({}, renderer="svg").classes("chart")
            chart.props["role"], chart.props["aria-label"] = "img", heading

        def renew(snapshot: Snapshot) -> None:
            options = make(snapshot)
            has_data = isinstance(options, dict)
            chart.set_visibility(has_data)
            words.set_visibility(not has_data)
            if isinstance(options, dict):
                if options != chart.options:
                    chart.options.clear()
                    chart.options.update(options)
            else:
                nothing = f'<p class="note">○ {empty}</p>'
                words.set_content(sections.broken(options) if options else nothing)

        self._renewals.append(renew)

    def details(self, make: Html, summary: str) -> None:
        """The same as numbers, closed until somebody wants it."""
        with ui.element("details").classes("part"):
            _text("summary", summary)
            html = ui.html(sanitize=False)
        self._renew_html(html, make)

    def _renew_html(self, html: ui.html, make: Html) -> None:
        def renew(snapshot: Snapshot) -> None:
            html.set_content(make(snapshot))

        self._renewals.append(renew)

    def start(self) -> None:
        """Show what is known, and renew it from now on."""
        self._show(self._board.glance())
        ui.timer(self._board.settings.console.refresh_seconds, self._renew)

    async def _renew(self) -> None:
        view = await run.io_bound(self._board.fresh)
        if view is not None:  # the console is ending
            self._show(view)

    def _show(self, view: BoardView) -> None:
        self._status.set_content(sections.status(view, self._board.settings))
        if view.snapshot is not None:
            for renew in self._renewals:
                renew(view.snapshot)


class Pages:
    """What stands on each page."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._settings, self._stores = board.settings, board.stores

    def today(self, branch: str | None = None) -> None:
        """Every branch beside the same hours before; one of them over time."""
        screen, one = Screen(self._board, "/"), self._branch(branch)
        screen.part(
            self._cards,
            "Branches",
            "A day is the hours that begin on it where the branch is. Conversion: orders by "
            "visitors, over the hours whose visitors are known.",
        )
        self._choice("/", one)
        screen.chart(
            lambda snapshot: self._by_hour(snapshot, one),
            f"{one.name} today by the hour, {one.timezone}",
            "No figures today yet.",
        )
        screen.details(lambda snapshot: self._hours(snapshot, one), "The hours as a table")
        screen.chart(
            lambda snapshot: _by_minute(snapshot, one),
            f"{one.name} by the minute, last 60 minutes, {one.timezone}",
            "Nobody came in and nothing was sold in the last 60 minutes.",
        )
        screen.start()

    def store(self, branch: str | None = None) -> None:
        """The map of one branch."""
        screen, one = Screen(self._board, "/store"), self._branch(branch)
        self._choice("/store", one)
        screen.part(
            lambda snapshot: sections.floor_map(snapshot, self._settings, self._stores, one),
            one.name,
            "What each camera looks at. The deeper a zone is coloured, the longer people stay in "
            "it; an arrow points into the shop.",
        )
        screen.start()

    def orders(self) -> None:
        """The funnel, and what is stuck in it."""
        screen = Screen(self._board, "/orders")
        screen.part(
            lambda snapshot: sections.order_funnel(snapshot, self._settings, self._stores),
            "Funnel of today",
            "Orders count in the hour of their creation, by the status that they have now.",
        )
        screen.part(
            lambda snapshot: sections.stuck_orders(snapshot, self._settings, self._stores),
            "Stuck orders",
        )
        screen.start()

    def pipeline(self) -> None:
        """Streams and dead letters."""
        screen = Screen(self._board, "/pipeline")
        screen.part(lambda snapshot: sections.pipeline(snapshot, self._settings), "Streams")
        with ui.element("div").props("id=letters"):
            screen.part(sections.dead_letters, "Dead letters")
        screen.start()

    def quality(self) -> None:
        """Validation, and the way to its reports."""
        screen = Screen(self._board, "/quality")
        screen.part(lambda snapshot: sections.quality(snapshot, self._settings), "Every layer")
        screen.start()

    def _branch(self, branch_id: str | None) -> Branch:
        known = {branch.branch_id: branch for branch in self._stores.branches}
        return known.get(branch_id or "", self._stores.branches[0])

    def _choice(self, path: str, now: Branch) -> None:
        """Links, so that a branch can be kept as a bookmark."""
        with ui.element("nav").classes("choice").props('aria-label="Branch"'):
            for branch in self._stores.branches:
                link = ui.link(branch.name, f"{path}?branch={quote(branch.branch_id)}")
                if branch is now:
                    link.props("aria-current=true")

    def _today(self, snapshot: Snapshot) -> list[BranchToday] | ReadFault:
        return sections.today_of(snapshot, self._settings, self._stores)

    def _cards(self, snapshot: Snapshot) -> str:
        found = self._today(snapshot)
        if isinstance(found, ReadFault):
            return sections.broken(found)
        return sections.branch_cards(found, snapshot)

    def _of(self, snapshot: Snapshot, branch: Branch) -> BranchToday | ReadFault:
        found = self._today(snapshot)
        if isinstance(found, ReadFault):
            return found
        return next(one for one in found if one.branch is branch)

    def _by_hour(self, snapshot: Snapshot, branch: Branch) -> charts.Options | ReadFault | None:
        found = self._of(snapshot, branch)
        if isinstance(found, ReadFault):
            return found
        return charts.hours_chart(found) if found.hours else None

    def _hours(self, snapshot: Snapshot, branch: Branch) -> str:
        found = self._of(snapshot, branch)
        if isinstance(found, ReadFault):
            return sections.broken(found)
        return sections.hours_table(found)


def _text(tag: str, text: str) -> ui.html:
    """An element with nothing but text in it; names of branches come from a file."""
    return ui.html(escape(text), tag=tag, sanitize=False)


def _by_minute(snapshot: Snapshot, branch: Branch) -> charts.Options | ReadFault | None:
    rows = snapshot.rows(queries.MINUTES)
    if isinstance(rows, ReadFault):
        return rows
    mine = [row for row in rows if row.branch_id == branch.branch_id]
    if charts.is_quiet(mine, snapshot.at, timedelta(hours=1)):
        return None
    return charts.minutes_chart(mine, snapshot.at, branch.timezone)


def add_pages(board: Board) -> None:
    """Register the pages at their addresses with NiceGUI."""
    ui.add_css(STYLE, shared=True)
    pages = Pages(board)
    for path, build in (
        ("/", pages.today),
        ("/store", pages.store),
        ("/orders", pages.orders),
        ("/pipeline", pages.pipeline),
        ("/quality", pages.quality),
    ):
        ui.page(path, title=f"{PAGES[path]} · storelake")(build)
