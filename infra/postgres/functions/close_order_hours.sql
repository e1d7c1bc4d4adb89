-- Marks the hours final whose end the watermark of real_time_metrics has passed by p_after: from
-- then on their events are late. Their figures are kept in final_ columns; a later cancellation or
-- restatement changes the others, and corrected_at.
-- Reads: stream_watermarks.
-- Writes: order_metrics (is_final, final_ columns, revision, change_id).
-- Returns: nothing.
CREATE OR REPLACE FUNCTION close_order_hours(p_after interval) RETURNS void LANGUAGE sql AS $$
    UPDATE order_metrics m SET is_final = true, final_order_count = m.order_count,
        final_total_revenue = m.total_revenue, final_net_revenue = m.net_revenue,
        revision = m.revision + 1, updated_at = now(), change_id = nextval('changes')
    FROM stream_watermarks w
    WHERE w.stream = 'real_time_metrics' AND NOT m.is_final
        AND m.hour + interval '1 hour' + p_after <= w.watermark
$$;
