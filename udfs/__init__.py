"""Plain functions where Spark has no built-in; no Spark import needed to test them."""
