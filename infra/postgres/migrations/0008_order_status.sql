-- Status history of orders. Grain, key and guarantees: docs/TABLES.md, docs/adr/0009.
-- depends: 0004_cameras

CREATE TABLE order_status_history (
    event_id                text PRIMARY KEY,
    order_id                text NOT NULL,
    branch_id               text NOT NULL,
    old_status              text NOT NULL,
    new_status              text NOT NULL,
    changed_at              timestamptz NOT NULL,
    previous_status         text,
    previous_changed_at     timestamptz,
    processing_time_seconds numeric(16, 3) CHECK (processing_time_seconds >= 0),
    anomaly                 text CHECK (anomaly IN ('duplicate', 'out_of_order',
                                'illegal_transition', 'stuck', 'stuck_withdrawn')),
    session_id              text,
    overtaken               boolean NOT NULL DEFAULT false,
    version                 text COLLATE "C" NOT NULL,
    recorded_at             timestamptz NOT NULL DEFAULT now(),
    change_id               bigint NOT NULL DEFAULT nextval('changes'),
    CHECK (old_status IN ('pending', 'processing', 'completed', 'cancelled')),
    CHECK (new_status IN ('pending', 'processing', 'completed', 'cancelled'))
);
COMMENT ON TABLE order_status_history IS
    'One change of the status of one order, or one alarm (stuck) with the event_id of the change before it and /stuck.';
COMMENT ON COLUMN order_status_history.previous_status IS
    'The status before, as the changes in event time say; old_status is what the event claims.';
COMMENT ON COLUMN order_status_history.processing_time_seconds IS
    'Seconds that the order spent in previous_status; null when nobody said when that began.';
COMMENT ON COLUMN order_status_history.session_id IS
    'Groups the changes of an order with less than streams.status_session_gap between them.';
COMMENT ON COLUMN order_status_history.overtaken IS
    'A later change of the order had arrived before this one.';
CREATE INDEX order_status_history_order ON order_status_history (order_id, version);
CREATE INDEX order_status_history_branch ON order_status_history (branch_id, changed_at DESC);
CREATE INDEX order_status_history_anomaly ON order_status_history (anomaly, changed_at DESC)
    WHERE anomaly IS NOT NULL;
CREATE UNIQUE INDEX order_status_history_change ON order_status_history (change_id);

CREATE TABLE order_status_state (
    order_id       text PRIMARY KEY,
    branch_id      text NOT NULL,
    status         text NOT NULL,
    since          timestamptz NOT NULL,
    version        text COLLATE "C" NOT NULL,
    event_id       text NOT NULL,
    first_status   text,
    first_since    timestamptz,
    due_at         timestamptz NOT NULL
);
COMMENT ON TABLE order_status_state IS
    'What the order_status_tracker knows of each order that is still under way, and when its timer fires.';
CREATE INDEX order_status_state_due ON order_status_state (due_at);
