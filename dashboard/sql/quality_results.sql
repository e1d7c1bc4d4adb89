-- One expectation in the newest run of its suite. Key: table_name, suite, expectation.
SELECT r.table_name, r.suite, r.expectation, r.layer, r.severity, r.state, r.ran_at,
    r.row_count, r.unexpected_count, r.observed, r.says
FROM quality_results r JOIN (
    SELECT DISTINCT ON (table_name, suite) table_name, suite, run_id
    FROM quality_results ORDER BY table_name, suite, ran_at DESC
) newest USING (table_name, suite, run_id)
ORDER BY r.severity, r.table_name, r.suite, r.expectation
