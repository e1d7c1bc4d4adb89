"""How fast the lake is read, raw and maintained: `python -m benchmarks.layout --out FILE`.

A chain of shops (`benchmarks.chain`) is written by the writer of the streams, as they leave it:
one small file a commit and partition. Then every question of docs/QUERIES.md is asked on each
engine, over the same files, before and after `storelake maintain`. An answer must be the same in
both layouts and on all engines, but for the order of sums of floats; where it is not, the figure is
void.

Each engine answers everything once before it is timed, since a JVM compiles what it runs; then the
layouts take turns, `--rounds` times. Cold: with the data files out of the page cache. Warm: again,
`--runs` times.

The house lies below `<var>/layout`, by default for the length of the run; `--keep` leaves it there,
and the next run of the same plan goes on with it, also where the last one was cut short: engines
that were through are not asked again.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import sqlglot
import typer
from sqlglot import exp

from benchmarks import print_result, tell
from benchmarks.board import Board
from benchmarks.chain import Plan
from benchmarks.chain.house import (
    LAYOUTS,
    Layout,
    forget_pages,
    holdings,
    join_all,
    name_layout,
    show,
    write_raw,
)
from benchmarks.chain.place import BOARD, NOTE, chosen, house_of
from conf.settings import Settings
from conf.stores import Stores, load_stores
from queries import ENGINES, Engine, QueryError, open_engine
from queries.ask import Question, ask_question, questions
from queries.references import references
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.tables import TABLES
from streaming.lake.views import DIALECT, by_name


def ask_all(
    engine: Engine,
    asked: Sequence[Question],
    layout: Layout,
    board: Board,
    *,
    runs: int,
    forget: Callable[[], None],
) -> None:
    """Ask one engine everything, in one layout; what it refuses is noted.

    Args:
        engine: open.
        asked: which questions.
        layout: that it sees.
        board: where the figures go.
        runs: warm ones of each.
        forget: takes the data files out of the page cache.
    """
    for question in asked:
        tell(f"{layout}, {engine.name}: {question.name}")
        timed = board.timed(question.name, engine.name, layout)
        if timed.failed is not None:
            continue
        forget()
        try:
            for run in range(1 + runs):
                began = time.perf_counter()
                answer = ask_question(engine, question)
                seconds = time.perf_counter() - began
                if run:
                    timed.warm.append(seconds)
                else:
                    timed.cold.append(seconds)
                    timed.bytes_read = answer.bytes_read
                board.compare(question.name, f"{engine.name}, {layout}", answer)
        except QueryError as error:
            timed.failed = str(error)


def tables_of(query: str, stores: Stores) -> set[str]:
    """The tables that a query reads, through the views that it names."""
    views, found, left = by_name(stores), set(), [query]
    while left:
        parsed = sqlglot.parse_one(left.pop(), read=DIALECT)
        assert isinstance(parsed, exp.Query)  # noqa: S101 (questions and views are)
        for reference in references(parsed):
            if reference.table in views:
                left.append(views[reference.table].sql)
            else:
                found.add(reference.table)
    return found


def measure(
    settings: Settings,
    lake: IcebergLake,
    engines: Iterable[str],
    asked: Sequence[Question],
    *,
    rounds: int,
    runs: int,
) -> dict[str, Any]:
    """Questions by layout and engine, and what each layout consists of."""
    stores, kept = load_stores(settings.stores_file), settings.var_dir / BOARD
    board = pickle.loads(kept.read_bytes()) if kept.exists() else Board()  # noqa: S301 (our own)
    needed = {question.name: sorted(tables_of(question.sql, stores)) for question in asked}
    names = sorted(set().union(*needed.values()))
    forget = partial(forget_pages, lake, names)
    consists: dict[str, dict[str, Any]] = {}
    for layout in LAYOUTS:
        show(lake, names, layout)
        consists[layout] = holdings(lake, names)
    for name in engines:
        if board.has(name, [question.name for question in asked]):
            continue
        with closing(open_engine(settings, name)) as engine:
            # What a JVM compiles must not count for the layout that comes first.
            ask_all(engine, asked, LAYOUTS[-1], Board(), runs=0, forget=forget)
            for _ in range(rounds):
                for layout in LAYOUTS:
                    show(lake, names, layout)
                    ask_all(engine, asked, layout, board, runs=runs, forget=forget)
        kept.write_bytes(pickle.dumps(board))
    # All were asked: the next run of this house begins anew.
    kept.unlink(missing_ok=True)
    planned = {
        question: {
            layout: {what: sum(of[table][what] for table in tables) for what in ("files", "bytes")}
            for layout, of in consists.items()
        }
        for question, tables in needed.items()
    }
    result = board.result()
    return {
        "tables": consists,
        "questions": {name: {"planned": planned[name], **of} for name, of in result.items()},
        "questions_equal": sum(of["equal"] for of in result.values()),
    }


def build(settings: Settings, lake: IcebergLake, plan: Plan) -> dict[str, Any]:
    """The house of a plan in both layouts; what is there already stays."""
    note = settings.var_dir / NOTE
    state = json.loads(note.read_text()) if note.exists() else {"plan": asdict(plan)}
    note.write_text(json.dumps(state))
    stores = load_stores(settings.stores_file)
    if "written" not in state:
        began = time.monotonic()
        state["written"] = write_raw(lake, plan, stores, tell)
        state["write_s"] = round(time.monotonic() - began, 1)
        name_layout(lake, state["written"], "raw")
        note.write_text(json.dumps(state))
    if "maintained" not in state:
        mine = [table for table in TABLES if table.name in state["written"]]
        done = join_all(lake, mine, tell)
        name_layout(lake, state["written"], "maintained")
        state["maintained"] = {
            one.table_name: {"compacted": one.compacted, "seconds": one.seconds} for one in done
        }
        note.write_text(json.dumps(state))
    return dict(state)


def main(
    *,
    orders: Annotated[int, typer.Option(min=1000, help="Order events.")] = 20_000,
    detections: Annotated[int, typer.Option(min=1000, help="Rows of silver.detections.")] = 100_000,
    days: Annotated[int, typer.Option(min=2, help="Of history.")] = 4,
    branches: Annotated[int, typer.Option(min=1, help="Of the chain.")] = 20,
    commits: Annotated[int, typer.Option(min=2, help="Of each table, at most.")] = 40,
    engine: Annotated[str, typer.Option(help="Names with commas.")] = "all",
    question: Annotated[str, typer.Option(help="Names with commas.")] = "all",
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each layout.")] = 2,
    runs: Annotated[int, typer.Option(min=1, help="Warm answers in a turn.")] = 5,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the house for another run.")] = False,
    anew: Annotated[bool, typer.Option("--anew", help="Delete a house that was kept.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON here.")] = None,
) -> None:
    """Build the house, measure, print."""
    plan = Plan(orders, detections, days, branches, commits)
    engines, names = chosen(engine, ENGINES), chosen(question, questions())
    with house_of(plan, engines, "layout", copies=1, keep=keep, anew=anew) as (settings, lake):
        built = build(settings, lake, plan)
        asked = [questions()[name] for name in names]
        found = measure(settings, lake, engines, asked, rounds=rounds, runs=runs)
        result = {"house": built, **found}
    print_result(result, out)


if __name__ == "__main__":
    typer.run(main)
