-- A visit that nobody received frames of is closed; when it continues, the minute and the hour in
-- which its wait was counted are computed again.
-- depends: 0045_dead_letter_audit

ALTER TABLE zone_visits ADD COLUMN earlier_ends timestamptz[] NOT NULL DEFAULT '{}';
COMMENT ON COLUMN zone_visits.earlier_ends IS
    'Ends at which it was closed before it continued: a wait was counted then.';
