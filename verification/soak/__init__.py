"""`make soak`: load and random faults for hours; memory, state, files and connections are flat."""
