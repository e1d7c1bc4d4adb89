"""HTTP gateway: receives order events of tills and web shops, and writes them to Kafka.

It checks one event against its contract and the branches of the store file, and sends its bytes to
the broker. Whatever needs another event or a table belongs to the streams. The cache of recent ids
only saves them repeats: it is bounded and not persistent.
"""
