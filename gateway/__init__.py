"""HTTP gateway: receives order events of tills and web shops, and writes them to Kafka.

It checks one event against its contract and sends its bytes to the broker. Whatever needs another
event, a table or the store file belongs to the streams. The cache of recent ids only saves them
repeats: it is bounded and not persistent.
"""
