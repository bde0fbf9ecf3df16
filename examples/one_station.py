# one_station.py
"""A callback: it gets one station of one batch."""

from load_model import TOPIC, predict

from app import create_app

app = create_app(callback=predict, module="load_prediction", source_topics=[TOPIC], batch_timeout=10)

if __name__ == "__main__":
    app.main()
