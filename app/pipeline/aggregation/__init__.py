"""From the log of a batch to its output: the one writer of each batch."""
