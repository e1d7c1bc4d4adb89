-- What quality runs found, for the console and for alerts; the lake keeps all of it.

CREATE TABLE quality_results (
    run_id           text NOT NULL,
    ran_at           timestamptz NOT NULL,
    layer            text NOT NULL,
    table_name       text NOT NULL,
    suite            text NOT NULL,
    expectation      text NOT NULL,
    kind             text NOT NULL,
    severity         text NOT NULL CHECK (severity IN ('critical', 'warning')),
    state            text NOT NULL CHECK (state IN ('passed', 'failed', 'unreadable')),
    snapshot_id      bigint,
    row_count        bigint NOT NULL CHECK (row_count >= 0),
    unexpected_count bigint,
    unexpected_share double precision,
    observed         text,
    samples          jsonb NOT NULL,
    says             text NOT NULL,
    PRIMARY KEY (run_id, table_name, suite, expectation)
);
CREATE INDEX quality_results_ran_at ON quality_results (ran_at);
COMMENT ON TABLE quality_results IS
    'One expectation, judged in one run; copied from the lake, for quality.results_keep.';

CREATE VIEW v_quality_status AS
SELECT r.*
FROM quality_results r
JOIN (
    SELECT table_name, suite, max(ran_at) AS ran_at FROM quality_results GROUP BY table_name, suite
) AS newest USING (table_name, suite, ran_at);
COMMENT ON VIEW v_quality_status IS
    'One expectation, as the newest run that judged its suite left it. Key: table_name, suite, expectation.';
