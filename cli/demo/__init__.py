"""`storelake demo`: real services, real baskets, real footage, and an account to the event.

`stage` has what is played, `account` compares what was sent with what is in the tables, `report`
writes what came out.
"""
