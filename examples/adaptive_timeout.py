# adaptive_timeout.py
"""An adaptive timeout: batches get the time that batches of their size have needed lately."""

from slow_model import predict

from app import create_app

app = create_app(
    callback=predict,
    timeout_mode="adaptive",
    batch_timeout=5,  # until there are durations to learn from
    timeout_min=1,
    timeout_max=20,
)
