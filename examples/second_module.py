# second_module.py
"""The second of two modules: a message of the first one's output, with its list `stations`, is a batch of its own."""

from app import create_app

LOADS = "MODULE-OUTPUT-LOAD_PREDICTION"


def dispatch(station_id, module_input):
    """Go on from the first module's result."""
    return {"limit_kw": 0.8 * module_input[LOADS]["load_kw"][-1]}


app = create_app(callback=dispatch, module="dispatch", source_topics=[LOADS], envelope_keys=["stations"])
