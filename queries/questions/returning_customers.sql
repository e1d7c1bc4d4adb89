-- How many customers come back to the same branch, and how much of its revenue do they bring?
-- Customers whose till gave them an id; cancelled orders are left out.
WITH customers AS (
    SELECT branch_id, currency, customer_id, COUNT(*) AS orders, SUM(total_price) AS revenue
    FROM analyst.orders
    WHERE status <> 'cancelled' AND NOT COALESCE(is_return, FALSE) AND customer_id IS NOT NULL
    GROUP BY branch_id, currency, customer_id
)
SELECT
    branch_id, currency, COUNT(*) AS customers,
    COUNT(*) FILTER (WHERE orders > 1) AS came_back,
    CAST(COUNT(*) FILTER (WHERE orders > 1) AS DOUBLE) / COUNT(*) AS came_back_share,
    MAX(orders) AS most_orders,
    CAST(SUM(CASE WHEN orders > 1 THEN revenue ELSE 0 END) AS DOUBLE)
        / NULLIF(CAST(SUM(revenue) AS DOUBLE), 0) AS revenue_share
FROM customers
GROUP BY branch_id, currency
ORDER BY branch_id, currency
