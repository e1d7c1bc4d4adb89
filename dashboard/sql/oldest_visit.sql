-- The beginning of the oldest zone visit that is kept; NULL without one. One row.
SELECT min(entered_at) AS entered_at FROM zone_visits
