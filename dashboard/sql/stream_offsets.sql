-- The newest position that a stream has written. Key: stream, topic, partition.
SELECT stream, topic, partition, position FROM stream_offsets
