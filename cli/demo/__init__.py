"""`storelake demo`: real services, real baskets, real footage, and an account to the event.

`stage` starts and stops what is needed, `watch` measures from outside, `account` compares what was
sent with what is in the tables, `report` writes what came out.
"""
