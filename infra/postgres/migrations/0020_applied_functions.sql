-- Which functions of infra/postgres/functions the database has, so that only changed files are
-- applied again.

CREATE TABLE applied_functions (
    name       text PRIMARY KEY,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE applied_functions IS
    'One function of storelake, with the hash of the file that defined it last.';
