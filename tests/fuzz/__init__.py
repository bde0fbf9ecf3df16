"""Hostile input: one check for each thing that reads bytes from outside. `make fuzz` runs them by the million."""
