"""The demonstration that `make run` starts: real charging data, replayed as the plants would send it.

`sample` makes the messages, `model` is the callback, `outputs` reads, counts and prints what comes out; all of these
are pure. `replay` sends and reads, `__main__` starts and ends Kafka and a worker around it.
"""
