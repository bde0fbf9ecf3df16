"""The benchmark: `python -m tests.bench`. Prints tables; asserts nothing, because machines differ."""
