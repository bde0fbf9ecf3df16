"""From the bytes of a source message to the input of a callback. Pure: no Kafka, no Faust, no clock."""
