# early_release.py
"""A release ratio: a batch is published as soon as half of its stations have arrived; the others are late."""

from slow_model import predict

from app import create_app

app = create_app(callback=predict, release_ratio=0.5, batch_timeout=10)
