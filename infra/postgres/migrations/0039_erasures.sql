-- Customers that were erased, by hashes: who is erased again when an older message brings them back.
-- depends: 0036_gateway_keys

CREATE TABLE erasures (
    customer_hash bytea PRIMARY KEY,
    salt          text NOT NULL,
    requested_at  timestamptz NOT NULL DEFAULT now(),
    done_at       timestamptz,
    repeat_until  timestamptz,
    touched       text[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE erasures IS 'One erased customer; the id itself is nowhere.';
COMMENT ON COLUMN erasures.customer_hash IS 'SHA-256 of salt and customer id.';
COMMENT ON COLUMN erasures.repeat_until IS
    'Until then Kafka may hold messages of the customer, and maintenance erases what comes of them.';
COMMENT ON COLUMN erasures.touched IS 'Tables with changed rows that are still to be vacuumed.';
