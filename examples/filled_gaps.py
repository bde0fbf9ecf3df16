# filled_gaps.py
"""AGG_FILL: what stands where no record gave a value. Here a window of three hours, and straight lines over gaps."""

from load_model import TOPIC

from app import create_app


def predict(station_id, module_input):
    """Show what comes."""
    columns = module_input[TOPIC]
    return {"times": [time[11:16] for time in columns["sendTime"]], "kw": columns["outputPowerPerStationAvg"]}


app = create_app(callback=predict, fill="linear", window_step=3600, window_size=3)
