"""Pages and contracts that are generated from the code.

`python -m tools.docs` writes them, `python -m tools.docs --check` fails when one is out of date.
"""
