-- Which products are bought together more often than chance would have it?
-- `lift` is how many times more often than if nobody chose one for the other; the twenty pairs that
-- are together in the most orders, from two on. `confidence` is the share of the orders with the
-- first product that hold the second one, too.
WITH baskets AS (
    SELECT ARRAY_DISTINCT(TRANSFORM(items, line -> line.product_id)) AS products
    FROM analyst.orders
    WHERE status <> 'cancelled' AND NOT COALESCE(is_return, FALSE)
),
together AS (
    SELECT a.product_id AS first_id, b.product_id AS second_id, COUNT(*) AS orders
    FROM baskets
    CROSS JOIN UNNEST(products) AS a(product_id)
    CROSS JOIN UNNEST(products) AS b(product_id)
    WHERE a.product_id <= b.product_id
    GROUP BY a.product_id, b.product_id
),
beside AS (
    SELECT
        first_id, second_id, orders AS orders_together,
        MAX(CASE WHEN first_id = second_id THEN orders END) OVER (PARTITION BY first_id) AS first_orders,
        MAX(CASE WHEN first_id = second_id THEN orders END) OVER (PARTITION BY second_id) AS second_orders
    FROM together
),
names AS (
    SELECT product_id, MIN(name) AS name
    FROM analyst.order_lines
    WHERE status <> 'cancelled'
    GROUP BY product_id
),
sold AS (
    SELECT COUNT(*) AS orders FROM analyst.orders
    WHERE status <> 'cancelled' AND NOT COALESCE(is_return, FALSE)
)
SELECT
    p.first_id, a.name AS first_name, p.second_id, b.name AS second_name, p.orders_together,
    CAST(p.orders_together AS DOUBLE) / p.first_orders AS confidence,
    CAST(p.orders_together * s.orders AS DOUBLE) / (p.first_orders * p.second_orders) AS lift
FROM beside AS p
JOIN names AS a ON a.product_id = p.first_id
JOIN names AS b ON b.product_id = p.second_id
CROSS JOIN sold AS s
WHERE p.first_id < p.second_id AND p.orders_together > 1
ORDER BY p.orders_together DESC, p.first_id, p.second_id
LIMIT 20
