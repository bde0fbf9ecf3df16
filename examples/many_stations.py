# many_stations.py
"""A batch callback: it gets many stations at once, for a model that is faster so."""

from functools import cache

from load_model import TOPIC

from app import create_app


@cache
def model():
    """Load the model, once a process: at the first call, not when this file is imported by a command."""
    return lambda loads: [2 * load for load in loads]


def predict(inputs):
    """Turn {station_id: module_input} into {station_id: result}; a station that is left out is empty."""
    loads = {station: columns[TOPIC]["outputPowerPerStationAvg"][-1] for station, columns in inputs.items()}
    return {station: {"kw": kw} for station, kw in zip(loads, model()(loads.values()), strict=True)}


app = create_app(batch_callback=predict, batch_callback_size=64)
