"""The live console: what the shops and the pipeline do now, read from Postgres, in a browser.

`queries` has the SQL, `board` runs it once for all viewers, `branches`, `floor`, `pipeline` and
`quality` interpret the rows, `sections` renders HTML, `pages` serves it. Nothing here writes
anywhere, and nothing imports Spark.
"""
