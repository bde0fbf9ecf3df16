# first_module.py
"""The first of two modules: its results carry the time of the data, for the second one."""

from load_model import TOPIC

from app import create_app


def predict(station_id, module_input):
    """Return a load and the time that it is of."""
    columns = module_input[TOPIC]
    return {"sendTime": columns["sendTime"][-1], "load_kw": columns["outputPowerPerStationAvg"][-1]}


app = create_app(callback=predict, module="load_prediction")
