-- Do people leave without buying when the queue is slow, and how many orders does that cost?
-- Hours are sorted by what the slowest twentieth of the people waited. `lost_orders` is what the
-- visitors of those hours would have bought at the best rate of their branch: an upper bound. Hours
-- whose conversion is withheld are left out.
WITH hours AS (
    SELECT
        branch_id, visitors, orders_in_store AS orders,
        CASE
            WHEN queue_waits = 0 THEN '0: nobody waited'
            WHEN queue_wait_p95 < 20 THEN '1: below 20 s'
            WHEN queue_wait_p95 < 60 THEN '2: 20 to 60 s'
            ELSE '3: a minute and more'
        END AS waiting
    FROM analyst.store_hourly
    WHERE conversion_withheld IS NULL
),
classes AS (
    SELECT
        branch_id, waiting, COUNT(*) AS hours, SUM(visitors) AS visitors, SUM(orders) AS orders,
        CAST(SUM(orders) AS DOUBLE) / SUM(visitors) AS conversion_rate
    FROM hours
    GROUP BY branch_id, waiting
),
best AS (
    SELECT branch_id, MAX(conversion_rate) AS best_rate FROM classes GROUP BY branch_id
)
SELECT
    c.branch_id, c.waiting, c.hours, c.visitors, c.orders, c.conversion_rate,
    (b.best_rate - c.conversion_rate) * c.visitors AS lost_orders
FROM classes AS c JOIN best AS b ON b.branch_id = c.branch_id
ORDER BY c.branch_id, c.waiting
