"""The fault tests alone: `python -m tests.chaos`. Workers and the broker are killed under load; prints a table."""
