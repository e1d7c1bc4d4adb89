"""`storelake check`: send events whose fate is known, follow them, and compare to the event.

`evidence` reads what the topics and tables hold of a run, `account` compares it with the ledger (it
opens nothing), `run` sends, waits and counts, `report` tells, `verify` does it all in a house of
its own and kills the streams in the middle.
"""
