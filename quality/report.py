"""`storelake quality report`: collects what `quality.pages` shows, and writes the files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from conf.settings import Settings
from conf.stores import load_stores
from quality import documents
from quality.context import AuditContext
from quality.pages import suite_page, summary_page
from quality.store import QualityError, Reached, read_reached
from quality.suite import Suite, name_of
from quality.suites import all_suites
from quality.summary import Quarantined, Standing, summarise
from streaming.lake.formats import open_lake
from streaming.lake.tables import TABLES
from streaming.sinks.postgres import Database

RUNS = 200
"""Number of runs in a trend."""

_NEWEST = """
    SELECT r.*, CASE WHEN r.state <> 'passed' THEN (
        SELECT min(b.ran_at) FROM quality_results b
        WHERE (b.table_name, b.suite, b.expectation) = (r.table_name, r.suite, r.expectation)
            AND b.ran_at > coalesce((
                SELECT max(p.ran_at) FROM quality_results p
                WHERE (p.table_name, p.suite, p.expectation)
                    = (r.table_name, r.suite, r.expectation) AND p.state = 'passed'
            ), '-infinity')) END AS since
    FROM quality_results r JOIN (
        SELECT DISTINCT ON (table_name, suite) table_name, suite, run_id
        FROM quality_results ORDER BY table_name, suite, ran_at DESC
    ) newest USING (table_name, suite, run_id)
    ORDER BY r.severity, r.table_name, r.suite, r.expectation"""
"""The newest run of each suite as a whole: results of older runs of a suite are out of date."""

_TREND = """
    SELECT layer, ran_at AS at, max(coalesce(unexpected_share, 0)) AS worst_share,
        count(*) FILTER (WHERE state <> 'passed' AND severity = 'critical') AS critical,
        count(*) FILTER (WHERE state <> 'passed' AND severity = 'warning') AS warning
    FROM quality_results
    WHERE ran_at IN (SELECT DISTINCT ran_at FROM quality_results ORDER BY ran_at DESC LIMIT %s)
    GROUP BY layer, ran_at ORDER BY ran_at"""


def build_report(
    settings: Settings,
    out: Path | None = None,
    *,
    suites: Sequence[Suite] | None = None,
    now: datetime | None = None,
) -> Path:
    """Write the pages and return the first one, `index.html`.

    Args:
        settings: of the deployment; Kafka and the streams need not run.
        out: target folder; by default `<var>/quality/report`.
        suites: in place of the suites of the product.
        now: UTC; by default the current time.

    Raises:
        QualityError: the deployment has no tables for results yet, or the folder cannot be written.
    """
    now = now or datetime.now(timezone.utc)
    stores = load_stores(settings.stores_file)
    suites = all_suites(settings, stores) if suites is None else suites
    names: dict[str, list[str]] = defaultdict(list)
    for suite in suites:
        names[suite.table].append(suite.name)
    with (
        open_lake(settings) as lake,
        closing(Database(settings.postgres.dsn, 2)) as db,
    ):
        context = AuditContext(settings, stores, now, lake, db)
        reached = read_reached(context)
        standings = {
            table: _standing(context, table, reached.get(table))
            for table in names
            if not table.startswith("postgres.")
        }
        summary = summarise(
            context.query(_NEWEST), context.query(_TREND, (RUNS,)), standings, names, now
        )
        quarantined = count_quarantined(context, suites)
    wanted = {f"{table}.{suite}" for table, of_table in names.items() for suite in of_table}
    docs = {
        suite: suite_page(document)
        for suite, document in documents.read(settings).items()
        if suite in wanted
    }
    return _write(
        (out or settings.var_dir / "quality" / "report").expanduser().absolute(),
        docs,
        summary_page(summary, quarantined, docs, now),
    )


def count_quarantined(context: AuditContext, suites: Sequence[Suite]) -> list[Quarantined]:
    """Count quarantined rows by table and rule, the most frequent first."""
    meanings = {name_of(e): str(e.notes or "") for suite in suites for e in suite.expectations}
    found: list[Quarantined] = []
    for table in TABLES:
        if not table.name.startswith("quarantine."):
            continue
        rows = context.scan(table.name, ("rules", "timestamp"))
        if not rows.num_rows:
            continue
        rules = rows["rules"].combine_chunks()
        flat = pa.table(
            {
                "rule": pc.list_flatten(rules),
                "timestamp": rows["timestamp"].take(pc.list_parent_indices(rules)),
            }
        )
        counts = flat.group_by("rule").aggregate([("timestamp", "max"), ("rule", "count")])
        found += [
            Quarantined(
                table.name,
                row["rule"],
                row["rule_count"],
                row["timestamp_max"],
                meanings.get(row["rule"], ""),
            )
            for row in counts.to_pylist()
        ]
    return sorted(found, key=lambda row: (-row.rows, row.table, row.rule))


def _standing(context: AuditContext, table: str, reached: Reached | None) -> Standing:
    """How far a table of the lake is validated."""
    state = context.table(table)
    if state is None:
        return Standing()
    newest = state.newest
    if newest is None:
        return Standing(empty=True)
    if reached is None or reached.table_uuid != state.identity:
        return Standing()
    passed = next((c for c in state.commits if c.id == reached.passed_snapshot_id), None)
    return Standing(
        validated_at=reached.validated_at,
        behind=sum(one.sequence > reached.sequence_number for one in state.commits),
        tag=passed.at if passed else None,
        tag_newest=passed is not None and passed.id == newest.id,
    )


def _write(out: Path, docs: Mapping[str, str], index: str) -> Path:
    """Write Data Docs, then the page that links to them; delete pages of removed suites."""
    folder = out / "data-docs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suite, page in docs.items():
            documents.write_whole(folder / f"{suite}.html", page)
        for path in folder.glob("*.html"):
            if path.stem not in docs:
                path.unlink()
        documents.write_whole(out / "index.html", index)
    except OSError as error:
        raise QualityError(f"The report cannot be written to {out}: {error.strerror}.") from error
    return out / "index.html"
