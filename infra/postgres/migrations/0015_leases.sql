-- One writer a stream, one row of watermark a stream, and what a stream sets aside in its own transaction.
-- depends: 0014_quality

CREATE TABLE stream_leases (
    stream     text PRIMARY KEY,
    epoch      bigint NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    owner      uuid,
    holder     text,
    machine    text,
    pid        integer,
    pid_start  double precision,
    since      timestamptz,
    expires_at timestamptz
);
COMMENT ON TABLE stream_leases IS
    'Which application may write a stream. Each new owner gets the next epoch; a commit of an older epoch is refused.';
COMMENT ON COLUMN stream_leases.owner IS 'One application; null: the stream is free.';
COMMENT ON COLUMN stream_leases.machine IS 'Of the process: boot id and pid namespace.';
COMMENT ON COLUMN stream_leases.pid_start IS 'Start of the process, in seconds since 1970.';

CREATE TABLE stream_watermarks (
    stream    text PRIMARY KEY,
    watermark timestamptz NOT NULL
);
COMMENT ON TABLE stream_watermarks IS 'The watermark of a stream after its newest batch; it never falls.';
INSERT INTO stream_watermarks (stream, watermark)
    SELECT query_id, max(watermark) FROM stream_batches WHERE watermark IS NOT NULL GROUP BY query_id;

CREATE INDEX stream_batches_committed ON stream_batches (committed_at);

CREATE TABLE late_events (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    position    text COLLATE "C" NOT NULL,
    key         bytea,
    value       bytea,
    headers     json,
    rules       text[] NOT NULL CHECK (cardinality(rules) > 0),
    received_at timestamptz NOT NULL,
    change_id   bigint NOT NULL DEFAULT nextval('changes'),
    PRIMARY KEY (topic, partition, position)
);
CREATE UNIQUE INDEX late_events_change ON late_events (change_id);
COMMENT ON TABLE late_events IS
    'One accepted order event that came too late for its hour, whole; replicated to quarantine.late_events.';
COMMENT ON COLUMN late_events.headers IS 'Pairs of name and value (base64), in their order.';
COMMENT ON COLUMN late_events.received_at IS 'The time of the broker; of the decision, when the broker tells none.';

CREATE TABLE refused_rows (
    stream      text NOT NULL,
    topic       text NOT NULL,
    partition   integer NOT NULL,
    position    text COLLATE "C" NOT NULL,
    key         bytea,
    value       bytea,
    headers     json,
    error_class text NOT NULL,
    error       text NOT NULL,
    received_at timestamptz NOT NULL,
    refused_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, topic, partition, position)
);
CREATE INDEX refused_rows_refused ON refused_rows (refused_at DESC);
COMMENT ON TABLE refused_rows IS
    'One message that the sink of a stream could not hold because of its data; the stream went on without it.';
COMMENT ON COLUMN refused_rows.value IS
    'Null where the stream reads parsed rows: bronze has the message at the same position.';
COMMENT ON COLUMN refused_rows.error_class IS 'Of the error of the sink, for example NumericValueOutOfRange.';
