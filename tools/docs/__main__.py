"""Write the generated pages and contracts, or check them: `python -m tools.docs [--check]`."""

from __future__ import annotations

import argparse
import sys

from conf.errors import StorelakeError
from tools.docs.files import ROOT, check_files, write_files


def main() -> None:
    """Exit with status 1 and one sentence when a file is out of date or cannot be generated."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail on a stale file, write none")
    arguments = parser.parse_args()
    try:
        if arguments.check:
            check_files(ROOT)
        else:
            written = write_files(ROOT)
            print(f"Wrote {', '.join(written)}." if written else "Everything is up to date.")  # noqa: T201
    except StorelakeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
