# heavy_model.py
"""A model that computes in C, or for long, or may end its process: a file of its own, which each process imports."""

import os


def predict(station_id, module_input):
    """Compute; the worker and the other stations go on meanwhile, whatever happens here."""
    if station_id == "crash":
        os._exit(1)  # as a C extension does that fails
    return {"process": os.getpid()}
