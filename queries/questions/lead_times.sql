-- How long does an order stay in each status?
-- Seconds from one status to the next, by event time; half and 95 of 100 changes took at most so
-- long (nearest rank, so each figure is one that occurred). Anomalies are left out.
WITH ranked AS (
    SELECT
        previous_status, new_status, CAST(processing_time_seconds AS DOUBLE) AS seconds,
        ROW_NUMBER() OVER (
            PARTITION BY previous_status, new_status ORDER BY processing_time_seconds
        ) AS place,
        COUNT(*) OVER (PARTITION BY previous_status, new_status) AS changes
    FROM analyst.order_status
    WHERE anomaly IS NULL AND processing_time_seconds IS NOT NULL
)
SELECT
    previous_status, new_status, changes,
    MIN(CASE WHEN place * 2 >= changes THEN seconds END) AS p50_seconds,
    MIN(CASE WHEN place * 100 >= changes * 95 THEN seconds END) AS p95_seconds,
    MAX(seconds) AS longest_seconds
FROM ranked
GROUP BY previous_status, new_status, changes
ORDER BY previous_status, new_status
