"""From the bytes of a source message to what a callback gets. Pure: no Kafka, no Faust, no clock."""
