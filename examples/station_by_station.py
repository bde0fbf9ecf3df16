# station_by_station.py
"""Pass-through: a topic whose stations are answered one by one, without a batch."""

from load_model import predict

from app import create_app


def publish(station_id, module_input, result):
    """Return the message of this station; None: nothing is published."""
    return {"station": station_id, "load": result["last_kw"]}


app = create_app(
    callback=predict,
    station_result_handler=publish,
    source_topics=["SCHEDULE-STATION-REALTIME-DATA"],
    passthrough_topics=["SCHEDULE-STATION-REALTIME-DATA"],
)
