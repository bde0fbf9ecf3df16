# required_stations.py
"""Required stations: a batch that expects them is not published without them, neither early nor at its deadline."""

from slow_model import predict

from app import create_app

app = create_app(callback=predict, required_stations=["B"], partial_min_ratio=0.5, batch_timeout=5)
