# early_release.py
"""A release ratio: a batch is published as soon as 60 % of its stations have arrived; the others are late."""

from load_model import predict

from app import create_app

app = create_app(callback=predict, release_ratio=0.6, batch_timeout=10)
