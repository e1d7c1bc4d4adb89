-- Open dead letters of orders, by rule. Key: rule.
-- last_hour: those that were rejected in the last hour.
-- of_all: open ones of any rule; a message may fail several.
SELECT rule, count(*) AS open,
    count(*) FILTER (WHERE rejected_at > now() - interval '1 hour') AS last_hour,
    (SELECT count(*) FROM dead_letters WHERE status = 'open') AS of_all
FROM dead_letters, unnest(rules) AS rule WHERE status = 'open'
GROUP BY rule ORDER BY open DESC, rule LIMIT 10
