-- `storelake restate`: what was sold, computed anew from bronze.
-- depends: 0006_order_items

CREATE INDEX product_orders_day ON product_orders (branch_id, day);
