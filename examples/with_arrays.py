# with_arrays.py
"""A callback that gets numpy arrays: the load of the busiest gun, and the mean load by hour of the day."""

from load_model import TOPIC

from app import create_app


def predict(station_id, module_input):
    """Compute with whole columns; results may be numpy values, too."""
    columns = module_input[TOPIC]
    guns = columns["outputPowerPerGunAvg"]  # T x G
    busiest = guns.mean(axis=0).argmax()
    hours = columns["sendTime"].astype("datetime64[h]").astype(int) % 24
    load = columns["outputPowerPerStationAvg"]
    return {
        "busiest": columns["gunNo"][busiest],
        "kw": guns[:, busiest].max(),
        "by_hour": {int(hour): load[hours == hour].mean() for hour in sorted({*hours})},
    }


app = create_app(callback=predict, input="numpy")
