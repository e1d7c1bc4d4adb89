"""Sections of the pages, as HTML: each section is a function of the snapshot.

Each section shows when it is empty, old or broken. The templates escape all texts of the database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from itertools import groupby
from operator import attrgetter
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from conf.settings import Settings
from conf.stores import Branch
from dashboard import words
from dashboard.alerts import open_alerts
from dashboard.board import BoardView, ReadError, Snapshot
from dashboard.branches import branch_days
from dashboard.figures import change, points
from dashboard.floor import cameras_now
from dashboard.pipeline import pipeline_now
from dashboard.quality import REPORTS, layers_now, read_report
from dashboard.sessions import Identity

Html = Callable[[Snapshot], str]
FIRST_ALERTS = 3
"""More of them are closed until somebody opens them: figures are next on a phone."""

_TEMPLATES = Environment(
    loader=PackageLoader("dashboard"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_TEMPLATES.globals.update(words=words, change=change, points=points)


def render(template: str, **values: Any) -> str:
    """The HTML of a template."""
    return _TEMPLATES.get_template(f"{template}.html.j2").render(**values)


def shown(make: Html, snapshot: Snapshot) -> str:
    """A section; in its place the reason where its rows cannot be read."""
    try:
        return make(snapshot)
    except ReadError as error:
        return render("broken", reason=str(error))


def status(view: BoardView, settings: Settings) -> str:
    """The line under the head of every page: whether what is shown is the present."""
    return render("status", view=view, settings=settings)


def head(view: BoardView, pages: Mapping[str, str], path: str, identity: Identity) -> str:
    """The head of every page; its badge is green only if all was read and nothing is wrong."""
    values = {"alerts": open_alerts(view), "reading": _reading(view)}
    return render("head", pages=pages, path=path, identity=identity, **values)


def alerts(view: BoardView) -> str:
    """What is wrong now, critical first, with what to do."""
    now = view.snapshot.at if view.snapshot else datetime.now(timezone.utc)
    values = {"alerts": open_alerts(view), "reading": _reading(view)}
    return render("alerts", now=now, first=FIRST_ALERTS, **values)


def _reading(view: BoardView) -> bool:
    return view.snapshot is None and view.away is None


def nothing(sentence: str) -> str:
    """In the place of a chart without data."""
    return render("nothing", sentence=sentence)


def floor_map(snapshot: Snapshot, branch: Branch) -> str:
    """The cameras of a branch with lines, zones, dwell and queues."""
    cameras = cameras_now(snapshot, branch)
    return render("floor", branch=branch, cameras=cameras, now=snapshot.at)


def order_funnel(snapshot: Snapshot) -> str:
    """From visitors to completed orders, for each branch."""
    orders = {
        branch_id: list(rows)
        for branch_id, rows in groupby(snapshot.rows("order_metrics"), attrgetter("branch_id"))
    }
    try:
        today = branch_days(snapshot)
    except ReadError:  # the funnel of orders needs no visitors
        today = []
    visitors = {t.branch.branch_id: t.so_far.visitors for t in today if t.so_far}
    return render("funnel", branches=snapshot.stores.branches, orders=orders, visitors=visitors)


def stuck_orders(snapshot: Snapshot) -> str:
    """Open orders without an event for `streams.status_stuck_after`."""
    after = snapshot.settings.streams.status_stuck_after.total_seconds()
    names = {branch.branch_id: branch.name for branch in snapshot.stores.branches}
    stuck = snapshot.rows("stuck_orders")
    return render("stuck", stuck=stuck, after=after, names=names, now=snapshot.at)


def pipeline(snapshot: Snapshot) -> str:
    """Each stream: whether it runs, lag, latency, the last batch."""
    return render(
        "pipeline",
        streams=pipeline_now(snapshot),
        reported=snapshot.reported,
        kafka=snapshot.ends if isinstance(snapshot.ends, ReadError) else None,
        now=snapshot.at,
    )


def dead_letters(snapshot: Snapshot) -> str:
    """Open dead letters by rule, and what of it only the lake has."""
    return render("letters", dead_letters=snapshot.rows("dead_letters"))


def quality(snapshot: Snapshot) -> str:
    """What the newest runs found, with the way to the reports."""
    expectations = snapshot.rows("quality_results")
    return render(
        "quality",
        layers=layers_now(expectations),
        failed=[e for e in expectations if e.state != "passed"],
        report=read_report(snapshot.settings.var_dir),
        reports=REPORTS,
        keep=snapshot.settings.quality.results_keep.total_seconds(),
        now=snapshot.at,
    )
