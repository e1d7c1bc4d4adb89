"""Configuration: one frozen settings tree, the event contracts, the stores.

Nothing outside this package reads the environment.
"""
