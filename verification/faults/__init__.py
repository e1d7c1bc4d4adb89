"""`make verify-faults`: every process is killed and hung once, under load, and ids are compared.

A deployment of its own runs in <var>/verify on free ports. Orders and frames with known ids go in
all the time, while one fault after the other is injected (docs/RELIABILITY.md). Each fault must be
seen to have fired, and the streams must commit again in a bounded time. At the end the ids that
went in are compared with the ids that are in Kafka, the lake and Postgres.
"""
