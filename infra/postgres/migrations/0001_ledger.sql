-- Which micro-batches of which stream are in the database. A row commits together with the data of
-- its batch, so a batch that Spark repeats after a crash is recognised and skipped.
CREATE TABLE stream_batches (
    query_id     text        NOT NULL,
    batch_id     bigint      NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT now(),
    rows_in      bigint      NOT NULL DEFAULT 0,
    watermark    timestamptz,
    PRIMARY KEY (query_id, batch_id)
);
