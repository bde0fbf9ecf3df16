"""A long steady run: memory, open files, changelogs and latency have to stay as they are. `make soak MINUTES=60`."""
