"""The records in which batches are stored, and how batches come back from them. Pure."""
