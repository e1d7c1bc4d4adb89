"""Frames in, detection events out: source -> detector -> tracker -> event -> publisher.

What belongs here: reading pictures, finding and following people in them, and handing events
to a broker. Pixels stay inside this process (V8); nothing here imports Spark.
A new detector, source or publisher is one new file and one line in its registry.
"""
