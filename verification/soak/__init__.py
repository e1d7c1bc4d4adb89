"""`make soak`: hours of load and random faults; memory, state, files and connections stay flat."""
