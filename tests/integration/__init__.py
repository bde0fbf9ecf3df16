"""The application on a real Kafka, as its users run it."""
