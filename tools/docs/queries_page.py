"""docs/QUERIES.md: how to query the lake, its views, and the prepared questions."""

from __future__ import annotations

from conf.settings import CONF_DIR
from conf.stores import load_stores
from queries.ask import questions
from streaming.lake.views import NAMESPACE, views
from tools.docs.markdown import render


def queries_page() -> str:
    """The page without the notice that it is generated."""
    stores = load_stores(CONF_DIR / "stores" / "demo.toml")
    return render(
        "QUERIES",
        namespace=NAMESPACE,
        views=[(f"`{view.full_name}`", view.grain) for view in views(stores)],
        index=[(f"`{q.name}`", q.question, q.reading) for q in questions().values()],
    )
