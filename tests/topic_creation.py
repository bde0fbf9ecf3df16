"""A Kafka that makes a topic when it is asked for, as many are set up; the one for a laptop does not."""

from __future__ import annotations

__all__ = ["CREATES_TOPICS"]

CREATES_TOPICS = {"auto.create.topics.enable": "true"}
