"""What a worker tells over HTTP: its batches, and whether it is alive and ready (CONTRACT 10)."""
