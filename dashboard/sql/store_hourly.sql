-- One branch in one hour of the day shown, the day before, or the same day a week before.
-- Key: branch_id, hour.
-- local_hour: by the clock of the branch, without a zone.
-- visitors, passers_by: NULL where no camera saw the entrance, the pavement.
-- revenue: of orders in the currency of the branch; orders_other_currency counts the others.
-- conversion_withheld: why the hour has no conversion rate; NULL where it has one.
-- capture_rate: NULL where it is withheld or nobody is counted outside.
-- occupancy_peak: the most people inside at the end of a minute.
-- camera_coverage: share of the camera minutes of the whole hour with a frame, 0..1.
SELECT s.branch_id, s.hour, s.local_hour, s.visitors, s.orders, s.orders_in_store,
    s.conversion_withheld, s.revenue, s.revenue_in_store, s.orders_other_currency,
    s.passers_by, s.capture_rate, s.occupancy_peak, s.camera_coverage, s.updated_at
FROM branch b JOIN store_hourly s ON s.branch_id = b.branch_id
    AND s.hour BETWEEN (coalesce(%(day)s::date, current_date) - 9)::timestamptz AND (coalesce(%(day)s::date, current_date) + 3)::timestamptz
    AND s.hour >= (b.today - 7)::timestamp AT TIME ZONE b.timezone
    AND s.hour < (b.today + 1)::timestamp AT TIME ZONE b.timezone
    AND s.local_hour::date IN (b.today, b.today - 1, b.today - 7)
ORDER BY s.branch_id, s.hour
