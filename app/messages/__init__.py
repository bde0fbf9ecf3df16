"""The messages that travel between the parts, and their bytes. Pure: no Kafka, no Faust, no clock."""
