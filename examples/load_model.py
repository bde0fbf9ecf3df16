# load_model.py
"""A model for one station, which the other examples use."""

TOPIC = "SCHEDULE-STATION-REALTIME-DATA"


async def predict(station_id, module_input):
    """Return the last load of a station and its mean; None: no result."""
    load = module_input[TOPIC]["outputPowerPerStationAvg"]
    if not any(load):
        return None
    return {"last_kw": load[-1], "mean_kw": round(sum(load) / len(load), 2)}
