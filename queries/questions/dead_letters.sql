-- Why are messages refused, and since when?
-- A message that fails several rules counts for each of them (docs/DEAD_LETTERS.md).
WITH dead_letters AS (
    SELECT topic, "timestamp" AS arrived_at, rules FROM quarantine.order_events
    UNION ALL
    SELECT topic, "timestamp" AS arrived_at, rules FROM quarantine.detections
)
SELECT
    topic, failed.rule, COUNT(*) AS messages,
    MIN(arrived_at) AS first_at, MAX(arrived_at) AS last_at
FROM dead_letters CROSS JOIN UNNEST(rules) AS failed(rule)
GROUP BY topic, failed.rule
ORDER BY messages DESC, topic, rule
