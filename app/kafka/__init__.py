"""The broker: clients, topics, consumer, producer, changelogs."""
