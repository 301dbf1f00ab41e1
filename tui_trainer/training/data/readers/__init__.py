"""How data sets are read, a file for each way. `read(settings, name)` tells of its progress and gives a `Source`."""
