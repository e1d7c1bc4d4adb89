-- Orders per branch and hour. An order counts once, in the hour of its created_at (UTC).
-- depends: 0002_orders

-- Rises with every change of a row that the lake mirrors; readers of a table use it as a cursor,
-- since a clock may step back and a sequence does not.
CREATE SEQUENCE changes AS bigint;

CREATE TABLE order_contributions (
    order_id       text PRIMARY KEY,
    branch_id      text,
    hour           timestamptz,
    total_price    numeric(12, 2),
    payment_method text,
    status         text NOT NULL,
    body_version   text COLLATE "C",
    status_version text COLLATE "C" NOT NULL
);
COMMENT ON TABLE order_contributions IS
    'What each order adds to order_metrics now: the state of real_time_metrics.';

CREATE TABLE order_metrics (
    metric_date         date NOT NULL,
    hour                timestamptz NOT NULL,
    branch_id           text NOT NULL,
    order_count         bigint NOT NULL CHECK (order_count >= 0),
    total_revenue       numeric(18, 2) NOT NULL CHECK (total_revenue >= 0),
    net_revenue         numeric(18, 2) NOT NULL,
    average_order_value numeric(18, 2) GENERATED ALWAYS AS
        (CASE WHEN order_count > 0 THEN round(total_revenue / order_count, 2) END) STORED,
    pending_count       bigint NOT NULL CHECK (pending_count >= 0),
    processing_count    bigint NOT NULL CHECK (processing_count >= 0),
    completed_count     bigint NOT NULL CHECK (completed_count >= 0),
    cancelled_count     bigint NOT NULL CHECK (cancelled_count >= 0),
    cash_count          bigint NOT NULL CHECK (cash_count >= 0),
    online_count        bigint NOT NULL CHECK (online_count >= 0),
    is_final            boolean NOT NULL DEFAULT false,
    revision            bigint NOT NULL DEFAULT 1,
    updated_at          timestamptz NOT NULL,
    change_id           bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (metric_date, hour, branch_id),
    CHECK (pending_count + processing_count + completed_count + cancelled_count = order_count),
    CHECK (cash_count + online_count = order_count)
);
CREATE INDEX order_metrics_branch ON order_metrics (branch_id, hour DESC);
CREATE INDEX order_metrics_open ON order_metrics (hour) WHERE NOT is_final;
CREATE UNIQUE INDEX order_metrics_change ON order_metrics (change_id);
