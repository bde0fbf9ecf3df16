# with_weather.py
"""Context: the newest record of each station on another topic."""

from load_model import TOPIC

from app import create_app


def predict(station_id, module_input):
    """Use what is known of the weather at the station when the callback starts."""
    weather = module_input["WEATHER"]
    temperature = weather["temp"][-1] if weather else None
    return {"last_kw": module_input[TOPIC]["outputPowerPerStationAvg"][-1], "temp": temperature}


app = create_app(callback=predict, context_topics=["WEATHER"])
