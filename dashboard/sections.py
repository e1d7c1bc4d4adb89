"""Sections of the pages, as HTML: each section is a function of the view.

Each section shows when it is empty, old or broken. The templates escape all texts of the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from conf.settings import Settings
from conf.stores import Branch, Stores
from dashboard import queries, words
from dashboard.board import BoardView, ReadFault, Snapshot
from dashboard.branches import BranchToday, branches_today, change, points
from dashboard.floor import HEIGHT, WIDTH, cameras_now
from dashboard.pipeline import pipeline_now
from dashboard.quality import REPORTS, layers_now, read_report

_TEMPLATES = Environment(
    loader=PackageLoader("dashboard"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_TEMPLATES.globals.update(words=words, change=change, points=points)


def _render(template: str, **values: Any) -> str:
    return _TEMPLATES.get_template(f"{template}.html.j2").render(**values)


def broken(*faults: ReadFault) -> str:
    """In the place of a section whose rows cannot be read."""
    return _render("broken", faults=faults)


def status(view: BoardView, settings: Settings) -> str:
    """The line under the head of every page: whether what is shown is the present."""
    return _render("status", view=view, settings=settings)


def today_of(
    snapshot: Snapshot, settings: Settings, stores: Stores
) -> list[BranchToday] | ReadFault:
    """Every branch; the fault where their hours cannot be read."""
    hours, cameras = snapshot.rows(queries.HOURS), snapshot.rows(queries.CAMERAS)
    if isinstance(hours, ReadFault):
        return hours
    if isinstance(cameras, ReadFault):
        return cameras
    return branches_today(
        stores, hours, cameras, now=snapshot.at, stale_after=settings.console.stale_after
    )


def branch_cards(today: Sequence[BranchToday], snapshot: Snapshot) -> str:
    """A card of each branch: visitors, orders, conversion, revenue per visitor."""
    return _render("branches", today=today, now=snapshot.at)


def hours_table(today: BranchToday) -> str:
    """The hours of a branch, as numbers."""
    return _render("hours", today=today)


def floor_map(snapshot: Snapshot, settings: Settings, stores: Stores, branch: Branch) -> str:
    """The cameras of a branch with lines, zones, dwell and queues."""
    cameras, dwell = snapshot.rows(queries.CAMERAS), snapshot.rows(queries.DWELL)
    queues = snapshot.rows(queries.QUEUES)
    if isinstance(cameras, ReadFault):
        return broken(cameras)
    if isinstance(dwell, ReadFault):
        return broken(dwell)
    if isinstance(queues, ReadFault):
        return broken(queues)
    shown = cameras_now(
        stores,
        branch,
        cameras=cameras,
        dwell=dwell,
        queues=queues,
        now=snapshot.at,
        stale_after=settings.console.stale_after,
    )
    return _render(
        "floor", branch=branch, cameras=shown, width=WIDTH, height=HEIGHT, now=snapshot.at
    )


def order_funnel(snapshot: Snapshot, settings: Settings, stores: Stores) -> str:
    """From visitors to completed orders, for each branch."""
    orders, today = snapshot.rows(queries.ORDERS), today_of(snapshot, settings, stores)
    if isinstance(orders, ReadFault):
        return broken(orders)
    visitors = (
        {}
        if isinstance(today, ReadFault)
        else {t.branch.branch_id: t.so_far.visitors for t in today if t.so_far}
    )
    by_branch = {row.branch_id: row for row in orders}
    return _render("funnel", branches=stores.branches, orders=by_branch, visitors=visitors)


def stuck_orders(snapshot: Snapshot, settings: Settings, stores: Stores) -> str:
    """Open orders that nobody has touched for `streams.status_stuck_after`."""
    stuck = snapshot.rows(queries.STUCK)
    if isinstance(stuck, ReadFault):
        return broken(stuck)
    after = settings.streams.status_stuck_after.total_seconds()
    names = {branch.branch_id: branch.name for branch in stores.branches}
    return _render("stuck", stuck=stuck, after=after, names=names, now=snapshot.at)


def pipeline(snapshot: Snapshot, settings: Settings) -> str:
    """Each stream: whether it runs, lag, latency, the last batch."""
    found = pipeline_now(settings, snapshot)
    if isinstance(found, ReadFault):
        return broken(found)
    return _render(
        "pipeline",
        streams=found,
        reported=snapshot.reported,
        kafka=snapshot.ends if isinstance(snapshot.ends, ReadFault) else None,
        now=snapshot.at,
    )


def dead_letters(snapshot: Snapshot) -> str:
    """Open dead letters by rule, and what of it only the lake has."""
    dead_letters = snapshot.rows(queries.DEAD_LETTERS)
    return (
        broken(dead_letters)
        if isinstance(dead_letters, ReadFault)
        else _render("letters", dead_letters=dead_letters)
    )


def quality(snapshot: Snapshot, settings: Settings) -> str:
    """What the newest runs found, with the way to the reports."""
    expectations = snapshot.rows(queries.QUALITY)
    if isinstance(expectations, ReadFault):
        return broken(expectations)
    return _render(
        "quality",
        layers=layers_now(expectations),
        failed=[e for e in expectations if e.state != "passed"],
        report=read_report(settings.var_dir),
        reports=REPORTS,
        keep=settings.quality.results_keep.total_seconds(),
        now=snapshot.at,
    )
