"""Hooks of MkDocs: pages outside of docs/, pages that the nav does not list, and Mermaid.

Pages missing from the nav are added to it, so a new page or decision record needs no entry.
Mermaid comes from NiceGUI, which the console needs anyway: the theme would load it from a server.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nicegui
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "inference_service/models/shop_person.md": "shop_person.md",
}
"""Page of the checkout -> its place in the site."""
MERMAID = Path(nicegui.__file__).parent / "elements" / "mermaid" / "dist"
MERMAID_GLOBAL = 'import { mermaid } from "./mermaid/index.js"; globalThis.mermaid = mermaid;\n'


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Complete the nav: what is left of docs/ as how-to, decisions by number, then the project."""
    docs = Path(config.docs_dir)
    nav: list[Any] = config.nav or []
    listed = set(re.findall(r"[\w/.-]+\.md", str(nav)))
    left = sorted(page.name for page in docs.glob("*.md") if page.name not in listed)
    how_to = next(section["How to"] for section in nav if "How to" in section)
    how_to += [{_title(docs / name): name} for name in left]
    decisions = sorted((docs / "adr").glob("*.md"))
    nav.append({"Decisions": [{_title(page): f"adr/{page.name}"} for page in decisions]})
    project = {
        "Contributing": "CONTRIBUTING.md",
        "Changelog": "CHANGELOG.md",
        "The model that ships": "shop_person.md",
    }
    nav.append({"Project": [{title: page} for title, page in project.items()]})
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the checkout that others link to, and Mermaid."""
    for source, place in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=_from_docs(text)))
    for script in MERMAID.glob("*.js"):
        files.append(File.generated(config, f"mermaid/{script.name}", abs_src_path=str(script)))
    files.append(File.generated(config, "mermaid.mjs", content=MERMAID_GLOBAL))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links from docs/ to those pages, which in the checkout lie above."""
    for source, place in OUTSIDE.items():
        markdown = markdown.replace(f"](../{source}", f"]({place}")
    return markdown


def _title(page: Path) -> str:
    heading = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return heading[1] if heading else page.stem


def _from_docs(text: str) -> str:
    return text.replace("](docs/", "](")
