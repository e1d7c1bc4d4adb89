"""Great Expectations on every layer: what tables must be like, judged after they were committed.

Belongs here: suites, the run over new snapshots, results, reports. Does not: the rules that split
a stream, which are data in `streaming` and which `suites.row_rules` turns into expectations.
"""

from conf.vendor import keep_great_expectations_quiet

keep_great_expectations_quiet()  # before anything here imports it
