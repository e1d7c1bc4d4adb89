"""Great Expectations on every layer: what tables must be like, validated after they were committed.

Belongs here: suites, the run over new snapshots, results, reports. Does not: the rules that split
a stream, which are data in `streaming` and which `suites.row_rules` turns into expectations.
"""

from conf.vendor import disable_great_expectations_analytics

disable_great_expectations_analytics()  # before anything here imports it
