"""The web of a worker: its batches, actions on them, statistics, health and the dashboard (CONTRACT 10)."""
