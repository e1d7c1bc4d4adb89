"""`storelake check`: send events whose fate is known, follow them, and compare to the event.

`evidence` reads what the topics and tables hold of a run, `account` compares it with the ledger (it
opens nothing), `run` sends, waits and counts, `report` tells, `verify` does it all in a `house` of
its own and kills the streams in the middle.

`storelake verify-cameras`: `cameras` does it all in such a house, with `shop` (a simulated day,
`playing` its videos), `footage` (the real clip) and `floor` (the speed). `frames` reads what the
tables hold and says what is wrong with it, `truth` compares the numbers.
"""
