"""From source messages to batches and station events."""
