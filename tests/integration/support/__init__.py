"""What the tests on a real Kafka share: a cluster, workers as processes, data that says what has to come of it."""
