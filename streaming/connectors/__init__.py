"""One module per external system. Sources share `log_source`, so they share their promises."""
