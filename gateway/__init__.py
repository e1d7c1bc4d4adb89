"""The HTTP door: order events of tills and web shops in, acknowledged Kafka messages out.

What belongs here: checking one event against its contract and handing its bytes to the broker.
What does not: anything that needs another event, a table or the store file; that is the streams'.
The memory of recent ids only spares them repeats: it is bounded, and may expire.
"""
