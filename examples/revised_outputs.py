# revised_outputs.py
"""AGG_LATE_POLICY=revise: what comes after the deadline makes another output of the whole batch, the next revision."""

from slow_model import predict

from app import create_app

app = create_app(callback=predict, late_policy="revise", revise_delay=1, batch_timeout=5)
