-- Rejected order messages, whole, and what became of each.
-- depends: 0004_cameras

CREATE TABLE dead_letters (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    position    text NOT NULL,
    -- What a person types: the position without its leading zeros.
    id          text NOT NULL GENERATED ALWAYS AS (topic || '/' || partition::text || '/'
        || coalesce(nullif(ltrim(position, '0'), ''), '0')) STORED,
    key         bytea,
    value       bytea,
    headers     json,
    rules       text[] NOT NULL CHECK (cardinality(rules) > 0),
    event_id    text,
    order_id    text,
    received_at timestamptz NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    status      text NOT NULL DEFAULT 'open'
        CHECK (status IN ('open', 'redriven', 'resolved', 'superseded')),
    origin      text,
    fixed_value bytea,
    fixed_at    timestamptz,
    redriven_at timestamptz,
    redriven_as text,
    resolved_at timestamptz,
    PRIMARY KEY (topic, partition, position)
);
COMMENT ON TABLE dead_letters IS
    'One rejected message of an order topic, whole. open: nobody has sent it back; redriven: sent back; resolved: what was sent back was good; superseded: that was rejected again and is a dead letter of its own.';
COMMENT ON COLUMN dead_letters.headers IS 'Pairs of name and value (base64), in their order.';
COMMENT ON COLUMN dead_letters.received_at IS
    'The time of the broker; of the rejection, when the broker tells none.';
COMMENT ON COLUMN dead_letters.origin IS 'The id of the dead letter that this one was sent back for.';
COMMENT ON COLUMN dead_letters.fixed_value IS 'What to send back instead of the value, which stays.';
COMMENT ON COLUMN dead_letters.redriven_as IS 'topic/partition/position of what was sent back.';
CREATE UNIQUE INDEX dead_letters_id ON dead_letters (id);
CREATE INDEX dead_letters_status ON dead_letters (status, received_at DESC);
CREATE INDEX dead_letters_received ON dead_letters (received_at DESC);
CREATE INDEX dead_letters_rules ON dead_letters USING gin (rules);
CREATE INDEX dead_letters_order ON dead_letters (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX dead_letters_origin ON dead_letters (origin) WHERE origin IS NOT NULL;
