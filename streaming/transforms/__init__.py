"""Pure functions of rows, one module per job: no session, clock, settings or I/O inside."""
