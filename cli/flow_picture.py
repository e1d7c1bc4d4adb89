"""The picture of the flow, drawn from the tables that streams declare; SVG that needs no script."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

ROW, LINE, PAD = 30, 17, 8
COLUMNS = {"sender": (10, 130), "door": (190, 130), "log": (370, 150), "stream": (580, 190)}
SINKS = (840, 430)
STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2933; }
.small { font-size: 12px; fill: #52606d; }
rect { fill: #ffffff; stroke: #829ab1; rx: 6px; }
.stream { fill: #e6f6f4; stroke: #2c7a7b; }
.log { fill: #fff8e6; stroke: #b7791f; }
.page { fill: #f7f9fb; stroke: none; }
path { fill: none; stroke: #829ab1; stroke-width: 1.5; }
"""
POSTGRES = {
    "order_event_processor": "orders_raw, orders_processed, dead_letters",
    "real_time_metrics": "order_metrics",
    "order_status_tracker": "order_status_history",
    "product_analytics": "order_items_analytics",
    "footfall": "footfall_minute, zone_visits, queue_minute, ...",
    "store_hourly": "store_hourly: the conversion rate",
}
"""What a stream writes to the serving database; the names are held against docs/TABLES.md."""
ORDERS = (
    *("bronze_order_events", "order_event_processor", "real_time_metrics"),
    *("order_status_tracker", "product_analytics"),
)
CAMERAS = ("bronze_detections", "silver_detections", "footfall")


@dataclass(frozen=True)
class Box:
    """A rectangle with one word in it; left, top, width and height in pixels."""

    x: float
    y: float
    width: float
    height: float
    label: str
    kind: str = "list"

    @property
    def right(self) -> tuple[float, float]:
        """Where an arrow leaves."""
        return self.x + self.width, self.y + self.height / 2

    @property
    def left(self) -> tuple[float, float]:
        """Where an arrow arrives."""
        return self.x, self.y + self.height / 2

    def svg(self) -> str:
        """The shape and its word."""
        middle, base = self.x + self.width / 2, self.y + self.height / 2 + 4
        shape = (
            f'<rect class="{self.kind}" x="{self.x:g}" y="{self.y:g}" width="{self.width:g}" '
            f'height="{self.height:g}"/>'
        )
        word = f'<text x="{middle:g}" y="{base:g}" text-anchor="middle">{escape(self.label)}</text>'
        return f"{shape}\n{word if self.label else ''}"


def flow_picture() -> str:
    """Senders, doors, topics, streams and what each writes, from left to right."""
    from streaming.lake.tables import TABLES

    written: dict[str, list[str]] = {}
    for table in TABLES:
        written.setdefault(table.writer, []).append(table.name)
    parts: list[str] = []
    streams: dict[str, Box] = {}
    top = 16.0
    for name in (*ORDERS, *CAMERAS, "store_hourly"):
        lines = _sinks(name, written[name])
        height = max(ROW, len(lines) * LINE + PAD)
        streams[name] = _box("stream", top + (height - ROW) / 2, name)
        parts += [streams[name].svg(), *_listed(streams[name], lines, top, height)]
        top += height + 14
    parts += _left("tills, web shop", "gateway", "Kafka: orders", [streams[n] for n in ORDERS])
    seen = [streams[n] for n in CAMERAS]
    both = _box("log", streams["store_hourly"].y, "Postgres: both sides")
    parts += [both.svg(), _arrow(both.right, streams["store_hourly"].left)]
    parts += _left("cameras", "inference service", "Kafka or Pulsar", seen)
    return _page(parts, SINKS[0] + SINKS[1], top)


def _sinks(name: str, tables: Sequence[str]) -> list[str]:
    lake = [", ".join(tables[i : i + 3]) for i in range(0, len(tables), 3)]
    return [*lake, *([f"Postgres: {POSTGRES[name]}"] if name in POSTGRES else [])]


def _listed(stream: Box, lines: Sequence[str], top: float, height: float) -> list[str]:
    """What a stream writes, as a box of lines with an arrow to it."""
    box = Box(SINKS[0], top, SINKS[1] - 10, height, "")
    first = top + (height - len(lines) * LINE) / 2 + LINE - 4
    text = [
        f'<text class="small" x="{box.x + 10}" y="{first + i * LINE:g}">{escape(line)}</text>'
        for i, line in enumerate(lines)
    ]
    return [_arrow(stream.right, box.left), box.svg(), *text]


def _left(sender: str, door: str, log: str, readers: Sequence[Box]) -> list[str]:
    """From who sends to the topic that these streams read, in the middle of their height."""
    middle = (readers[0].y + readers[-1].y) / 2
    boxes = [
        _box("sender", middle, sender),
        _box("door", middle, door),
        _box("log", middle, log),
    ]
    arrows = [_arrow(a.right, b.left) for a, b in pairwise(boxes)]
    arrows += [_arrow(boxes[-1].right, reader.left) for reader in readers]
    return [*arrows, *(box.svg() for box in boxes)]


def _box(column: str, y: float, label: str) -> Box:
    x, width = COLUMNS[column]
    return Box(x, y, width, ROW, label, column)


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    bend = (x1 + x2) / 2
    curve = f"M{x1:g} {y1:g} C{bend:g} {y1:g} {bend:g} {y2:g} {x2 - 2:g} {y2:g}"
    return f'<path marker-end="url(#tip)" d="{curve}"/>'


def _page(parts: Sequence[str], width: float, height: float) -> str:
    tip = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8" /></marker>'
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        'role="img" aria-label="From tills and cameras through topics and streams to the tables">'
    )
    page = f'<rect class="page" width="{width:g}" height="{height:g}"/>'
    lines = [head, f"<style>{STYLE}</style>", f"<defs>{tip}</defs>", page, *parts, "</svg>"]
    return "\n".join(lines) + "\n"
