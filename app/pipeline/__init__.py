"""The topology: splitter, station agents, aggregator, outbox. It knows neither Faust nor Kafka."""
