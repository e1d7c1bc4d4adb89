-- Closes open zone visits that no frame has updated for p_after: their run or their camera has
-- ended. If the run continues, upsert_visits() opens the visit again.
-- Arguments: p_after, from the last update by the clock of the database.
-- Writes: zone_visits (is_open, change_id).
-- Returns: nothing.
CREATE OR REPLACE FUNCTION close_silent_visits(p_after interval) RETURNS void LANGUAGE sql AS $$
    UPDATE zone_visits SET is_open = false, updated_at = now(), change_id = nextval('changes')
    WHERE is_open AND updated_at < now() - p_after
$$;
