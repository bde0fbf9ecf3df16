"""The commands of `faust -A app ...` beside the worker."""
