"""A simulated shop with known truth: order events of its tills, and a ledger of all sent messages.

What belongs here: made-up traffic from real baskets, poison included. What does not: anything that
the product needs in order to run; only the command line, benchmarks and tests import this package.
"""
