#!/usr/bin/env python
"""The health check of our containers: `healthy streams`, or `healthy URL`.

Exit code 0 when all streams run, or when the address answers without an error.
"""

from __future__ import annotations

import sys
from urllib.request import urlopen

SECONDS = 4


def main(what: str) -> bool:
    """Whether the streams are ready (`streams`), or an HTTP address responds without an error."""
    if what == "streams":
        return _streams()
    try:
        with urlopen(what, timeout=SECONDS):  # noqa: S310 - the address is in docker-compose.yml
            return True
    except OSError as error:
        print(f"{what}: {error}", file=sys.stderr)  # noqa: T201 - shown by `docker inspect`
        return False


def _streams() -> bool:
    from conf.errors import StorelakeError  # noqa: PLC0415 - slow, and URLs do not need it
    from conf.settings import load_settings  # noqa: PLC0415
    from infra.local.streams import streams_ready  # noqa: PLC0415

    try:
        return streams_ready(load_settings())
    except StorelakeError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return False


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1]))
