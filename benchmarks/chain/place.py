"""Where a chain is kept while it is measured: services, settings and a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from benchmarks import tell
from benchmarks.chain.house import needed_bytes
from benchmarks.chain.plan import Plan, chain_stores
from conf.errors import StorelakeError
from conf.settings import Settings, load_settings
from infra import local
from infra.local.checks import require_disk
from streaming.lake.iceberg.lake import IcebergLake, create_tables, open_catalog
from streaming.lake.views import create_views
from streaming.session import build_session

NOTE = "house.json"
"""What of the house is there already."""

BOARD = "board.pickle"
"""What engines have answered, of a run that is cut short."""


def chosen(given: str, known: Iterable[str]) -> list[str]:
    """Names with commas between them, or all.

    Raises:
        StorelakeError: there is no such name.
    """
    names = sorted(known)
    wanted = names if given == "all" else given.split(",")
    if unknown := [name for name in wanted if name not in names]:
        raise StorelakeError(f"There is no {', '.join(unknown)}: choose of {', '.join(names)}.")
    return wanted


@contextmanager
def house_of(
    plan: Plan, engines: Iterable[str], folder: str, *, copies: int, keep: bool, anew: bool
) -> Iterator[tuple[Settings, IcebergLake]]:
    """A lake with every table and view, and the services that the engines want.

    Args:
        plan: of the chain whose shops it is for.
        engines: that will be asked.
        folder: below `<var>`.
        copies: of the rows that are there at once; there must be room for them.
        keep: leave it there afterwards.
        anew: delete what an earlier run has kept.

    Raises:
        ServiceError: there is not enough room, or a service does not start.
        StorelakeError: the house of another plan is kept there.
    """
    base = load_settings()
    if anew:
        _delete(base, folder)
    own = _settings(base, plan, engines, base.var_dir / folder)
    if not (own.var_dir / NOTE).exists():
        require_disk(own.var_dir, copies * needed_bytes(plan))
    try:
        with local.running(own, tell) as settings:
            spark = build_session(settings, "storelake:benchmark")
            create_tables(spark, settings)
            create_views(spark, settings)
            spark.stop()
            with closing(open_catalog(settings)) as catalog:
                yield settings, IcebergLake(settings, catalog)
    finally:
        if not keep:
            _delete(base, folder)


def _settings(base: Settings, plan: Plan, engines: Iterable[str], place: Path) -> Settings:
    place.mkdir(parents=True, exist_ok=True)
    note = place / NOTE
    if note.exists() and (there := json.loads(note.read_text())["plan"]) != asdict(plan):
        raise StorelakeError(
            f"{place} holds the house of another plan ({there}): ask for that one, or delete it "
            "with --anew."
        )
    stores = place / "stores.toml"
    stores.write_text(chain_stores(plan.branches), encoding="utf-8")
    catalog = {"views": True, "format": "iceberg", "snapshot_retention": timedelta(seconds=30)}
    return base.model_copy(
        update={
            "var_dir": place,
            "stores_file": stores,
            "catalog": base.catalog.model_copy(update=catalog),
            "trino": base.trino.model_copy(update={"enabled": "trino" in engines}),
        }
    )


def _delete(base: Settings, folder: str) -> None:
    own = base.model_copy(update={"var_dir": base.var_dir / folder})
    local.reset(own)
    for name in (NOTE, BOARD):
        (own.var_dir / name).unlink(missing_ok=True)
