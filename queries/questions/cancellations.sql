-- How many orders are cancelled, by branch, currency and way of paying, and what would they have brought?
-- Each order counts once, in its newest version.
SELECT
    branch_id, currency, payment_method, COUNT(*) AS orders,
    COUNT(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    CAST(COUNT(*) FILTER (WHERE status = 'cancelled') AS DOUBLE) / COUNT(*) AS cancelled_share,
    SUM(CASE WHEN status = 'cancelled' THEN total_price ELSE 0 END) AS cancelled_revenue,
    SUM(total_price) AS total_revenue
FROM analyst.orders
WHERE NOT COALESCE(is_return, FALSE)
GROUP BY branch_id, currency, payment_method
ORDER BY branch_id, currency, payment_method
