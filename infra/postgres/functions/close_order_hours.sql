-- Marks the hours final whose end the watermark of real_time_metrics has passed by p_after: from
-- then on their events are late.
-- Reads: stream_watermarks.
-- Writes: order_metrics (is_final, revision, change_id).
-- Returns: nothing.
CREATE OR REPLACE FUNCTION close_order_hours(p_after interval) RETURNS void LANGUAGE sql AS $$
    UPDATE order_metrics m SET is_final = true, revision = m.revision + 1,
        updated_at = now(), change_id = nextval('changes')
    FROM stream_watermarks w
    WHERE w.stream = 'real_time_metrics' AND NOT m.is_final
        AND m.hour + interval '1 hour' + p_after <= w.watermark
$$;
