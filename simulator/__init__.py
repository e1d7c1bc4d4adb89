"""A shop with known truth: what tills sell, said event by event, and a ledger of what was said.

What belongs here: made-up traffic from real baskets, poison included. What does not: anything that
the product needs in order to run; only the command line, benchmarks and tests import this room.
"""
