-- Who opened, edited and redrove which dead letter: bodies hold data of customers.
-- depends: 0039_erasures

CREATE TABLE dead_letter_audit (
    entry          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at             timestamptz NOT NULL DEFAULT now(),
    actor          text NOT NULL,
    action         text NOT NULL CHECK (action IN ('opened', 'edited', 'redriven')),
    dead_letter_id text NOT NULL
);
COMMENT ON TABLE dead_letter_audit IS
    'One reading, edit or redrive of one dead letter; rows are only added.';
COMMENT ON COLUMN dead_letter_audit.actor IS
    'console: and the user of the session (the role, where people sign in by password), or terminal: and the user of the machine.';
CREATE INDEX dead_letter_audit_of ON dead_letter_audit (dead_letter_id, entry);
