-- Basket pairs
-- Which products are bought together more often than chance would have it?
-- `lift` is how many times more often than if nobody chose one for the other; the twenty pairs that
-- are together in the most orders, from two on. `confidence` is the share of the orders with the
-- first product that hold the second one, too.
WITH lines AS (
    SELECT
        order_id, product_id, MIN(MIN(name)) OVER (PARTITION BY product_id) AS name,
        COUNT(*) OVER (PARTITION BY product_id) AS orders
    FROM analyst.order_lines
    WHERE status <> 'cancelled'
    GROUP BY order_id, product_id
),
baskets AS (
    SELECT COUNT(*) AS orders FROM analyst.orders WHERE status <> 'cancelled'
)
SELECT
    a.product_id AS first_id, a.name AS first_name,
    b.product_id AS second_id, b.name AS second_name, COUNT(*) AS orders_together,
    CAST(COUNT(*) AS DOUBLE) / a.orders AS confidence,
    CAST(COUNT(*) * n.orders AS DOUBLE) / (a.orders * b.orders) AS lift
FROM lines AS a
JOIN lines AS b ON b.order_id = a.order_id AND a.product_id < b.product_id
CROSS JOIN baskets AS n
GROUP BY a.product_id, a.name, a.orders, b.product_id, b.name, b.orders, n.orders
HAVING COUNT(*) > 1
ORDER BY orders_together DESC, first_id, second_id
LIMIT 20
