"""`faust` whose group waits long for a member that is away: a busy machine takes its time to start one.

With `OWN_SESSION` it waits as long as the application's. With `PATIENT_SHARES` workers have so many seconds to answer
each other, and Kafka to be read for who asks them, for tests in which all of them do. Spans have as long as they take
to be sent at the end, and requests of the command line as long as they take.
"""

from __future__ import annotations

import importlib
import os
from typing import Any, Final

from faust.cli.faust import cli

from app import application
from app.cli import batches
from app.web import backwards, cluster
from app.web.routers import batches as actions
from app.web.routers import courses, letters, one_station
from app.worker import topics
from app.worker.app import AggregatorApp

SESSION: Final = 600.0  # seconds; more than a test waits for anything
READINGS: Final = (  # seconds for which who asks waits until topics and tables have been read
    (backwards, "SECONDS"),
    (letters, "ANSWER_SECONDS"),
    (letters, "REPLAY_SECONDS"),
    (courses, "WITHIN"),
    (one_station, "WITHIN"),
)


def patient_app(*arguments: Any, **options: Any) -> AggregatorApp:
    # A request may take a join, which may take a session.
    return AggregatorApp(
        *arguments, **options | {"broker_session_timeout": SESSION, "broker_request_timeout": 2 * SESSION}
    )


if __name__ == "__main__":
    if "OWN_SESSION" not in os.environ:
        vars(application)["AggregatorApp"] = patient_app
    if "PATIENT_SHARES" in os.environ:
        seconds = float(os.environ["PATIENT_SHARES"])
        for module, name in (*READINGS, (cluster, "DEADLINE"), (topics, "WITHIN"), (actions, "CONFIRMED_WITHIN")):
            vars(module)[name] = seconds
    vars(batches)["SECONDS"] = SESSION
    if "AGG_TRACES" in os.environ:
        vars(importlib.import_module("app.observability.opentelemetry"))["FLUSH_SECONDS"] = SESSION
    cli()
