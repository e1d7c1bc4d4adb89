"""DataFrame -> DataFrame, one module a job: no session, clock, settings or I/O inside."""
