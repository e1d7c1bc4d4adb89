-- The order that each id belongs to, and the sale that an order belongs to (docs/adr/0037).
-- depends: 0023_order_status_in_spark

CREATE TABLE order_ids (
    order_id   text PRIMARY KEY,
    branch_id  text NOT NULL,
    created_at timestamptz NOT NULL
);
COMMENT ON TABLE order_ids IS
    'The order that an id belongs to, by the first message that creates one: the same for all streams.';
INSERT INTO order_ids
SELECT DISTINCT ON (order_id) order_id, branch_id, (payload #>> '{order,created_at}')::timestamptz
FROM orders_raw WHERE event_type = 'order.created' ORDER BY order_id, event_time, seq;

CREATE TABLE order_id_reuses (
    order_id   text REFERENCES order_ids,
    branch_id  text,
    created_at timestamptz,
    rule       text NOT NULL,
    PRIMARY KEY (order_id, branch_id, created_at)
);
COMMENT ON TABLE order_id_reuses IS
    'An order that failed the rule, since its id belongs to another one; so do its status changes.';

ALTER TABLE orders_processed ADD COLUMN sale_version text COLLATE "C";
ALTER TABLE order_contributions ADD COLUMN sale_version text COLLATE "C";
ALTER TABLE product_orders ADD COLUMN sale_version text COLLATE "C";
COMMENT ON COLUMN orders_processed.sale_version IS
    'Of the oldest event with a body, whose branch, region and time the order keeps.';
ALTER TABLE orders_processed ADD COLUMN status_branch_id text;
COMMENT ON COLUMN orders_processed.status_branch_id IS 'The branch that reported the newest event.';
UPDATE orders_processed p SET branch_id = i.branch_id, status_branch_id = p.branch_id
FROM order_ids i WHERE i.order_id = p.order_id AND i.branch_id <> p.branch_id;
