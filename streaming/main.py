"""`spark-submit streaming/main.py [NAME...]`: some streams, or all, in one application."""

import sys

from streaming.jobs import find_streams
from streaming.runtime.submit import submit

if __name__ == "__main__":
    submit(*find_streams(tuple(sys.argv[1:])))
