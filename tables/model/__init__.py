"""The state machine of a batch. Pure: the same log gives the same effects."""
