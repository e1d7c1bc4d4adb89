-- What a stream has committed to Postgres. Key: stream.
-- rows_minute: new rows in the last minute, over the last 200 batches.
-- skipped: rows of these batches that had been written before.
SELECT s.stream, n.batch_id, n.rows_in, n.committed_at, n.watermark, n.rows_minute, n.skipped
FROM unnest(%(streams)s::text[]) AS s (stream) CROSS JOIN LATERAL (
    SELECT max(batch_id) AS batch_id, max(committed_at) AS committed_at,
        max(watermark) AS watermark, (array_agg(rows_in ORDER BY batch_id DESC))[1] AS rows_in,
        coalesce(sum(rows_new) FILTER (WHERE committed_at > now() - interval '1 minute'), 0)
            ::bigint AS rows_minute,
        sum(rows_in - rows_new)::bigint AS skipped
    FROM (
        SELECT * FROM stream_batches b WHERE b.query_id = s.stream
        ORDER BY b.batch_id DESC LIMIT 200
    ) newest
) n WHERE n.batch_id IS NOT NULL
