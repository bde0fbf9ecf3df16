"""State of batches: the pure state machine, its policies and the Faust tables over it."""
