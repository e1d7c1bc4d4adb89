"""The suites of every table; `row_rules` turns what streams judge into expectations."""
