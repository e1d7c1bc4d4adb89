-- One hour of one weekday over the four weeks before the day shown. Key: branch_id, weekday, hour.
-- weekday: 1 is Monday; hour: 0..23; both by the clock of the branch.
-- days: hours with a count of visitors, all of them together.
-- came, bought: visitors, and orders made in the shop, of the hours whose conversion is trusted.
-- revenue: of orders in the currency of the branch.
SELECT s.branch_id, extract(isodow FROM s.local_hour)::int AS weekday,
    extract(hour FROM s.local_hour)::int AS hour, count(s.visitors) AS days,
    coalesce(sum(s.visitors), 0)::bigint AS visitors,
    coalesce(sum(s.visitors) FILTER (WHERE s.conversion_withheld IS NULL), 0)::bigint AS came,
    coalesce(sum(s.orders_in_store) FILTER (WHERE s.conversion_withheld IS NULL), 0)::bigint
        AS bought,
    sum(s.revenue) AS revenue
FROM branch b JOIN store_hourly s ON s.branch_id = b.branch_id
    AND s.hour BETWEEN (coalesce(%(day)s::date, current_date) - 30)::timestamptz AND (coalesce(%(day)s::date, current_date) + 3)::timestamptz
    AND s.hour >= (b.today - 28)::timestamp AT TIME ZONE b.timezone
    AND s.hour < b.today::timestamp AT TIME ZONE b.timezone
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
