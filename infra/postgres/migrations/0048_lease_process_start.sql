-- The start of a lease's process does not move when the clock of its machine is set.
-- depends: 0047_earlier_ends_of_visits

COMMENT ON COLUMN stream_leases.pid_start IS
    'Start of the process, in seconds from the boot of its machine; of earlier releases in seconds since 1970.';
