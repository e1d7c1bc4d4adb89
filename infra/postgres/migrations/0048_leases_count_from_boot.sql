-- depends: 0047_earlier_ends_of_visits

COMMENT ON COLUMN stream_leases.pid_start IS
    'Start of the process, in seconds since the boot: no step of the clock changes it.';
