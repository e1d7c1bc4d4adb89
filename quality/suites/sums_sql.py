"""SQL of the sums that `sums` compares: each column as stored, and as computed from its orders.

`METRICS`, `PAYMENTS`, `STORE` and `PRODUCTS` name the columns that are compared.
"""

from conf.contracts.order_event import STATUSES
from quality.facts import both_sides

METRICS = (
    *("order_count", "total_revenue", "net_revenue"),
    *(f"{status}_count" for status in STATUSES),
    *("cash_count", "online_count", "in_store_count", "in_store_cancelled_count"),
    *("in_store_revenue", "return_count", "refunds"),
)
_STATUS_COUNTS = ", ".join(
    f"count(*) FILTER (WHERE sold AND status = '{status}') AS {status}_count" for status in STATUSES
)
# S608, here and below: built from constants of this repository only.
METRICS_SQL = f"""
    WITH counted AS (
        SELECT branch_id, hour, currency, count(*) FILTER (WHERE sold) AS order_count,
            sum(total_price) FILTER (WHERE sold) AS total_revenue,
            sum(total_price) FILTER (WHERE NOT cancelled) AS net_revenue, {_STATUS_COUNTS},
            count(*) FILTER (WHERE sold AND payment_method = 'cash') AS cash_count,
            count(*) FILTER (WHERE sold AND payment_method = 'online') AS online_count,
            count(*) FILTER (WHERE sold AND in_store) AS in_store_count,
            count(*) FILTER (WHERE sold AND in_store AND cancelled) AS in_store_cancelled_count,
            sum(total_price) FILTER (WHERE sold AND in_store) AS in_store_revenue,
            count(*) FILTER (WHERE is_return AND NOT cancelled) AS return_count,
            -sum(total_price) FILTER (WHERE is_return AND NOT cancelled) AS refunds
        FROM (SELECT *, NOT is_return AS sold, status = 'cancelled' AS cancelled
            FROM order_contributions WHERE hour >= %(start)s) o GROUP BY 1, 2, 3
    )
    SELECT branch_id, hour, currency, {both_sides("m", "c", METRICS)}
    FROM (SELECT * FROM order_metrics WHERE hour >= %(start)s) m
    FULL JOIN counted c USING (branch_id, hour, currency)
    ORDER BY branch_id, hour, currency"""  # noqa: S608

PAYMENTS = ("order_count", "total_amount", "net_amount")
PAYMENTS_SQL = f"""
    WITH paid AS (
        SELECT branch_id, hour, currency, method,
            count(*) FILTER (WHERE NOT is_return) AS order_count,
            sum(amount) FILTER (WHERE NOT is_return) AS total_amount,
            sum(amount) FILTER (WHERE status <> 'cancelled') AS net_amount
        FROM order_payments WHERE hour >= %(start)s GROUP BY 1, 2, 3, 4
    )
    SELECT branch_id, hour, currency, method, {both_sides("m", "c", PAYMENTS)}
    FROM (SELECT * FROM payments_hourly WHERE hour >= %(start)s) m
    FULL JOIN paid c USING (branch_id, hour, currency, method)
    ORDER BY branch_id, hour, currency, method"""  # noqa: S608

STORE = ("orders", "orders_in_store", "revenue", "net_revenue", "visitors")
# An hour counts where store_hourly names the newest change on each side; others follow later.
STORE_SQL = """
    SELECT s.branch_id, s.hour, s.orders AS stored_orders, s.revenue AS stored_revenue,
        s.orders_in_store AS stored_orders_in_store, s.net_revenue AS stored_net_revenue,
        coalesce(s.visitors, 0) AS stored_visitors, coalesce(m.orders, 0) AS computed_orders,
        coalesce(m.in_store, 0) AS computed_orders_in_store,
        coalesce(m.revenue, 0) AS computed_revenue,
        coalesce(m.net_revenue, 0) AS computed_net_revenue,
        coalesce(f.entries, 0) AS computed_visitors
    FROM store_hourly s
    LEFT JOIN LATERAL (
        SELECT sum(order_count) AS orders, sum(in_store_count) AS in_store,
            sum(total_revenue) FILTER (WHERE o.currency = s.currency) AS revenue,
            sum(net_revenue) FILTER (WHERE o.currency = s.currency) AS net_revenue,
            max(change_id) AS change_id
        FROM order_metrics o WHERE o.branch_id = s.branch_id AND o.hour = s.hour
            AND o.metric_date = (s.hour AT TIME ZONE 'UTC')::date
    ) m ON true
    LEFT JOIN LATERAL (
        SELECT sum(entries) FILTER (WHERE camera_id = ANY (%(entrances)s))::bigint AS entries,
            max(change_id) AS change_id
        FROM footfall_minute x
        WHERE x.branch_id = s.branch_id AND x.minute >= s.hour
            AND x.minute < s.hour + interval '1 hour'
    ) f ON true
    WHERE s.hour >= %(start)s AND s.orders_change_id = coalesce(m.change_id, 0)
        AND s.footfall_change_id = coalesce(f.change_id, 0)
    ORDER BY s.branch_id, s.hour"""

PRODUCTS = (
    *("order_count", "quantity", "revenue", "cancelled_orders", "cancelled_quantity"),
    *("cancelled_revenue", "returned_quantity", "returned_revenue"),
)
PRODUCTS_SQL = f"""
    WITH shares AS (
        SELECT p.branch_id, p.day, p.currency, i.product_id, NOT p.is_return AS sold,
            p.status = 'cancelled' AS cancelled, sum(i.quantity) AS quantity,
            sum(i.line_total) AS revenue
        FROM product_orders p JOIN order_items i USING (order_id)
        WHERE p.day >= (%(start)s AT TIME ZONE 'UTC')::date
        GROUP BY p.order_id, i.product_id
    ), held AS (
        SELECT branch_id, day, product_id, currency, count(*) FILTER (WHERE sold) AS order_count,
            sum(quantity) FILTER (WHERE sold) AS quantity,
            sum(revenue) FILTER (WHERE sold) AS revenue,
            count(*) FILTER (WHERE sold AND cancelled) AS cancelled_orders,
            sum(quantity) FILTER (WHERE sold AND cancelled) AS cancelled_quantity,
            sum(revenue) FILTER (WHERE sold AND cancelled) AS cancelled_revenue,
            -sum(quantity) FILTER (WHERE NOT sold AND NOT cancelled) AS returned_quantity,
            -sum(revenue) FILTER (WHERE NOT sold AND NOT cancelled) AS returned_revenue
        FROM shares GROUP BY 1, 2, 3, 4
    )
    SELECT branch_id, day::timestamp AT TIME ZONE 'UTC' AS hour, product_id,
        {both_sides("m", "c", PRODUCTS)}
    FROM (SELECT * FROM order_items_analytics
        WHERE day >= (%(start)s AT TIME ZONE 'UTC')::date) m
    FULL JOIN held c USING (branch_id, day, product_id, currency)
    ORDER BY branch_id, day, product_id, currency"""  # noqa: S608
