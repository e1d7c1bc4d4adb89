"""One file, one stream: source, steps, sinks, key. `storelake run NAME...` finds them here."""

from __future__ import annotations

from importlib import import_module

from conf.errors import StorelakeError
from streaming.registry import NAMES
from streaming.stream import Stream


def find_streams(names: tuple[str, ...] = ()) -> list[Stream]:
    """The streams of these names; all of them without a name.

    Raises:
        StorelakeError: a name that is none of `NAMES`.
    """
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise StorelakeError(f"no stream {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    return [import_module(f"streaming.jobs.{name}").STREAM for name in names or NAMES]
