-- What was sold, product by product. An order counts once, by its newest body, on the UTC day
-- of its created_at; its newest status says whether it is cancelled.
-- depends: 0004_cameras

CREATE TABLE product_orders (
    order_id       text PRIMARY KEY,
    branch_id      text,
    day            date,
    status         text NOT NULL CHECK (status IN ('pending', 'processing', 'completed', 'cancelled')),
    body_version   text COLLATE "C",
    status_version text COLLATE "C" NOT NULL,
    CHECK ((body_version IS NULL) = (branch_id IS NULL) AND (body_version IS NULL) = (day IS NULL))
);
COMMENT ON TABLE product_orders IS
    'Where and when each order counts now: the state of product_analytics. Without a body it counts nowhere.';

-- The parent is product_orders and not orders_processed: each stream commits on its own, so an
-- order may be here before the order_event_processor has written it, or without it at all.
CREATE TABLE order_items (
    order_id   text NOT NULL REFERENCES product_orders ON DELETE CASCADE,
    line_no    integer NOT NULL CHECK (line_no > 0),
    product_id text NOT NULL,
    name       text NOT NULL,
    category   text NOT NULL,
    quantity   integer NOT NULL CHECK (quantity > 0),
    unit_price numeric(12, 2) NOT NULL CHECK (unit_price > 0),
    line_total numeric(18, 2) NOT NULL GENERATED ALWAYS AS (quantity * unit_price) STORED,
    PRIMARY KEY (order_id, line_no)
);
COMMENT ON TABLE order_items IS 'One line of the newest body of an order; gone with its order.';
CREATE INDEX order_items_product ON order_items (product_id, order_id);

CREATE TABLE order_items_analytics (
    branch_id          text NOT NULL,
    day                date NOT NULL,
    product_id         text NOT NULL,
    name               text NOT NULL,
    category           text NOT NULL,
    order_count        bigint NOT NULL,
    quantity           bigint NOT NULL,
    revenue            numeric(18, 2) NOT NULL,
    cancelled_orders   bigint NOT NULL CHECK (cancelled_orders BETWEEN 0 AND order_count),
    cancelled_quantity bigint NOT NULL CHECK (cancelled_quantity BETWEEN 0 AND quantity),
    cancelled_revenue  numeric(18, 2) NOT NULL CHECK (cancelled_revenue BETWEEN 0 AND revenue),
    net_quantity       bigint NOT NULL GENERATED ALWAYS AS (quantity - cancelled_quantity) STORED,
    net_revenue        numeric(18, 2) NOT NULL GENERATED ALWAYS AS (revenue - cancelled_revenue) STORED,
    name_version       text COLLATE "C" NOT NULL,
    revision           bigint NOT NULL DEFAULT 0,
    updated_at         timestamptz NOT NULL,
    change_id          bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (branch_id, day, product_id),
    CHECK (order_count <= quantity)
);
COMMENT ON TABLE order_items_analytics IS
    'One product in the orders of one branch and UTC day; all zero once no order holds it any more.';
CREATE INDEX order_items_analytics_product ON order_items_analytics (product_id, day DESC);
CREATE INDEX order_items_analytics_day ON order_items_analytics (day);
CREATE UNIQUE INDEX order_items_analytics_change ON order_items_analytics (change_id);
