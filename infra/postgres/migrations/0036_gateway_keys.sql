-- Keys of the gateway's clients. A secret itself is stored nowhere.
-- depends: 0035_returns_keep_their_ids

CREATE TABLE gateway_keys (
    id text PRIMARY KEY,
    name text NOT NULL,
    branches text[],  -- null: all branches
    scopes text[] NOT NULL,
    secret_sha256 bytea NOT NULL CHECK (octet_length(secret_sha256) = 32),
    previous_sha256 bytea CHECK (octet_length(previous_sha256) = 32),
    previous_ends_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    last_used_at timestamptz,
    CHECK ((previous_sha256 IS NULL) = (previous_ends_at IS NULL)),
    CHECK (cardinality(branches) > 0 AND cardinality(scopes) > 0)
);

COMMENT ON TABLE gateway_keys IS
    'A key of a client of the gateway: its branches, scopes and end, and digests of its secrets.';
