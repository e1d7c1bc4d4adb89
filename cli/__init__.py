"""The `storelake` command: thin modules, one a command, that call the rooms."""
