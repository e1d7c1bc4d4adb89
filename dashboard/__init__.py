"""The live console: what the shops and the pipeline do now, read from Postgres, in a browser.

`queries` asks, `board` requests everybody at once, `branches`, `floor`, `pipeline` and `quality`
make sense of the rows, `sections` writes HTML of it, `pages` puts it before people. Nothing here
writes anywhere, and nothing knows Spark.
"""
