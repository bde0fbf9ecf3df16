"""Log lines, counters, metrics and traces."""
