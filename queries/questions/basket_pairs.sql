-- Basket pairs
-- Which products are bought together more often than chance would have it?
-- `lift` is how many times more often than if nobody chose one for the other; the twenty pairs that
-- are together in the most orders, from two on. `confidence` is the share of the orders with the
-- first product that hold the second one, too.
WITH lines AS (
    SELECT order_id, product_id, MIN(name) AS name
    FROM analyst.order_lines
    WHERE status <> 'cancelled'
    GROUP BY order_id, product_id
),
products AS (
    SELECT product_id, MIN(name) AS name, COUNT(*) AS orders FROM lines GROUP BY product_id
),
baskets AS (
    SELECT COUNT(DISTINCT order_id) AS orders FROM lines
),
pairs AS (
    SELECT a.product_id AS first_id, b.product_id AS second_id, COUNT(*) AS orders_together
    FROM lines AS a JOIN lines AS b ON b.order_id = a.order_id AND a.product_id < b.product_id
    GROUP BY a.product_id, b.product_id
    HAVING COUNT(*) > 1
)
SELECT
    p.first_id, x.name AS first_name, p.second_id, y.name AS second_name, p.orders_together,
    CAST(p.orders_together AS DOUBLE) / x.orders AS confidence,
    CAST(p.orders_together * n.orders AS DOUBLE) / (x.orders * y.orders) AS lift
FROM pairs AS p
JOIN products AS x ON x.product_id = p.first_id
JOIN products AS y ON y.product_id = p.second_id
CROSS JOIN baskets AS n
ORDER BY p.orders_together DESC, p.first_id, p.second_id
LIMIT 20
