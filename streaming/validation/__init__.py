"""Validation: predicates, rules as data, parsing."""
