-- Topics that had the same name, in the order in which streams met them. Positions contain the
-- number, so those of a topic that was made again sort behind those of the one before it.
CREATE TABLE topic_generations (
    topic      text NOT NULL,
    generation integer NOT NULL CHECK (generation BETWEEN 0 AND 99999),
    topic_id   text NOT NULL,
    met_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, generation)
);
COMMENT ON TABLE topic_generations IS
    'Topics that had one name, by the id that the broker gave each; the newest is read.';
COMMENT ON COLUMN topic_generations.topic_id IS 'As the broker has it; no two topics have one id.';
