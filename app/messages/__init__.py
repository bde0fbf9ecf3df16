"""What travels between the parts, and its bytes. Pure: no Kafka, no Faust, no clock."""
