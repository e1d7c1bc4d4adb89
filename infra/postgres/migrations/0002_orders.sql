-- Order events and orders. Grain, key and version: docs/TABLES.md.
-- depends: 0001_ledger

CREATE TABLE orders_raw (
    event_id    text PRIMARY KEY,
    order_id    text NOT NULL,
    event_type  text NOT NULL,
    event_time  timestamptz NOT NULL,
    branch_id   text NOT NULL,
    payload     jsonb NOT NULL,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    position    text NOT NULL,
    received_at timestamptz NOT NULL,
    seq         bigint GENERATED ALWAYS AS IDENTITY,
    UNIQUE (topic, partition, position)
);
COMMENT ON TABLE orders_raw IS 'One accepted order event; a repeated event_id is kept once.';
CREATE INDEX orders_raw_order ON orders_raw (order_id, event_time);
CREATE UNIQUE INDEX orders_raw_seq ON orders_raw (seq);
CREATE INDEX orders_raw_payload ON orders_raw USING gin (payload jsonb_path_ops);

CREATE TABLE orders_processed (
    order_id       text PRIMARY KEY,
    customer_id    text,
    branch_id      text NOT NULL,
    region         text,
    status         text NOT NULL CHECK (status IN ('pending', 'processing', 'completed', 'cancelled')),
    payment_method text CHECK (payment_method IN ('cash', 'online')),
    currency       char(3),
    total_price    numeric(12, 2) CHECK (total_price > 0),
    created_at     timestamptz,
    local_date     date,
    local_hour     smallint CHECK (local_hour BETWEEN 0 AND 23),
    item_count     integer CHECK (item_count > 0),
    items          jsonb,
    first_event_at timestamptz NOT NULL,
    last_event_at  timestamptz NOT NULL,
    body_version   text COLLATE "C",
    status_version text COLLATE "C" NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE orders_processed IS
    'One order: its newest body, and its newest status. The body is null until the order itself arrives.';
CREATE INDEX orders_processed_branch ON orders_processed (branch_id, created_at DESC);
CREATE INDEX orders_processed_created ON orders_processed (created_at DESC);
CREATE INDEX orders_processed_customer ON orders_processed (customer_id, created_at DESC);
