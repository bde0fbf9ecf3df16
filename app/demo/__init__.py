"""The demonstration that `make run` starts: real charging data, replayed as the plants would send it.

`data` and `replay` make the messages, `model` is the callback, `tally` and `lines` say what has come out; all of these
are pure. `worker` keeps the worker's process, `run` sends and reads, `__main__` puts it together.
"""
