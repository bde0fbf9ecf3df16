"""A real Apache Kafka on a laptop: no root, no Docker, no Java to install.

`DevBroker` runs one; `ensure_kafka` only fetches what it needs. From a shell::

    python -m app.devbroker run --port 9092 --data ./kafka
    python -m app.devbroker install

One concept a module: `install` (jars and Java), `maven` (their download), `config` (Kafka's settings, its ports),
`folder` (its data), `supervise` (it ends with the process that wanted it), `broker` (the life of one broker).
"""

from __future__ import annotations

from app.devbroker.broker import DevBroker
from app.devbroker.config import DevBrokerError, Listener
from app.devbroker.install import ensure_kafka, find_java

__all__ = ["DevBroker", "DevBrokerError", "Listener", "ensure_kafka", "find_java"]
