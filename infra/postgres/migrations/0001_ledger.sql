-- What each stream has committed. A sink writes rows, progress and ledger row in one transaction.

CREATE TABLE stream_offsets (
    stream    text NOT NULL,
    topic     text NOT NULL,
    partition integer NOT NULL,
    position  text COLLATE "C" NOT NULL,
    PRIMARY KEY (stream, topic, partition)
);
COMMENT ON TABLE stream_offsets IS
    'The newest source position whose rows a stream has written; older rows are skipped.';

CREATE TABLE stream_batches (
    query_id     text NOT NULL,
    batch_id     bigint NOT NULL,
    rows_in      bigint NOT NULL,
    rows_new     bigint NOT NULL,
    runs         integer NOT NULL DEFAULT 1,
    watermark    timestamptz,
    committed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (query_id, batch_id)
);
COMMENT ON TABLE stream_batches IS
    'One micro-batch of one stream; over all its runs: rows_in - rows_new is what came again and was skipped.';
