# in_processes.py
"""The process executor: calls run in other processes, which are killed when they take too long."""

from heavy_model import predict

from app import create_app

app = create_app(callback=predict, executor="process", executor_workers=2, station_timeout=20)
