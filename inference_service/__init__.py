"""Frames in, detection events out: sources -> detector -> trackers -> events -> publisher.

What belongs here: reading pictures, finding and following people in them, and handing events
to a broker. No pixels leave this process; nothing here imports Spark.
A new detector, tracker, source or publisher is one new file and one line in its registry.
"""
