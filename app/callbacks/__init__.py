"""The user's functions: found, called within limits, and what became of each call."""
