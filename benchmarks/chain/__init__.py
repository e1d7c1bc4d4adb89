"""Weeks of a chain of shops, as rows of the lake, by the ten million: to measure how it is read.

`simulator.history` makes messages, one by one, that go through the streams; this makes in numpy
what the streams would have written, which takes minutes in place of days. Seeded, in slices of time
that follow each other: the same plan makes the same rows.

Made up: shops are open from 8 to 21 by their own clock, with a peak at noon and a higher one in the
evening; branches differ in size, and products in popularity, by Zipf's law; a track lasts some
twenty seconds, a few of them minutes; orders live through one of a few lives (`orders.LIVES`).
"""

from benchmarks.chain.plan import Plan, Slice, chain_stores
from benchmarks.chain.rows import slices_of_rows

__all__ = ["Plan", "Slice", "chain_stores", "slices_of_rows"]
