"""Recordings as files: all messages of all topics, what was committed, and what comes out when a worker goes on."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from app.messages.message import Headers, OutMessage
from app.testing import TopologyTestDriver
from tests.recorded.scenarios import SECONDS, Scenario

FOLDER: Final = Path(__file__).parent
PROJECT: Final = str(FOLDER.parents[1])


@dataclass(frozen=True)
class Recording:
    """What workers have left, at a moment (Unix seconds), and what has to come of it."""

    now: float
    messages: list[OutMessage]
    committed: dict[tuple[str, int], int]
    notes: dict[int, str]
    expected: dict[str, Any]

    def values(self, topic: str) -> list[bytes]:
        """The values of a topic."""
        return [message.value for message in self.messages if message.topic == topic and message.value is not None]


def record(scenario: Scenario) -> Recording:
    """Play a scenario, and take what stands in the topics; then go on with a worker, and take what comes out."""
    with scenario.driver() as driver:
        scenario.play(driver)
        driver.kill()
        broker = driver._broker
        messages = [
            OutMessage(one.topic, _mended(one.value), one.key, one.partition, _mended_all(one.headers), one.timestamp)
            for topic in broker.topics
            for one in broker.messages(topic)
        ]
        committed, notes, now = dict(broker.committed), dict(broker.notes), driver.now
    left = Recording(now, messages, committed, notes, {})
    return Recording(now, messages, committed, notes, gone_on(scenario, left))


def gone_on(scenario: Scenario, recording: Recording) -> dict[str, Any]:
    """Let a worker of this program go on with what is recorded; return what is there then."""
    with scenario.driver() as driver:
        driver.kill()
        driver.advance(recording.now - driver.now)
        for message in recording.messages:
            driver._broker.append(message)
        driver._broker.committed = dict(recording.committed)
        driver._broker.notes = dict(recording.notes)
        driver.restart()
        driver.advance(SECONDS)
        return outcome_of(driver)


def outcome_of(driver: TopologyTestDriver) -> dict[str, Any]:
    """All that has come out, and what is remembered; the text of errors is no matter."""
    return {
        "outputs": sorted(
            [
                one.key,
                one.headers.get("revision"),
                one.headers.get("completed-by"),
                _without_errors(one.value),
            ]
            for one in driver.outputs
        ),
        "late": sorted([one.key, one.headers["station-id"], one.value["status"]] for one in driver.late),
        "letters": sorted(
            [one.headers["reason"], one.headers.get("batch-id"), one.headers.get("station-id")]
            for one in driver.dead_letters
        ),
        "open": sorted(driver.open_batches),
        "closed": sorted(driver.closed_batches),
    }


def _without_errors(value: Any) -> Any:
    for failed in value.get("meta", {}).get("failed", ()):
        failed["error"] = failed["error"].partition(":")[0]
    return value


def _mended(value: bytes | None) -> bytes | None:
    """Take the path of this checkout out of the tracebacks."""
    return None if value is None else value.replace(PROJECT.encode(), b"/project")


def _mended_all(headers: Headers) -> Headers:
    return [(name, _mended(value) or b"") for name, value in headers]


def write(recording: Recording, file: Path) -> None:
    """Write a recording: a line for the whole, and one for each message."""
    head = {
        "now": recording.now,
        "committed": [[*place, offset] for place, offset in sorted(recording.committed.items())],
        "notes": [[number, text] for number, text in sorted(recording.notes.items())],
        "expected": recording.expected,
    }
    lines = [json.dumps(head).encode()]  # orjson writes no integers of more than 64 bits
    for message in recording.messages:
        headers = [[name, _text(value)] for name, value in message.headers]
        fields = [message.topic, message.partition, message.timestamp, _text(message.key), _text(message.value)]
        lines.append(orjson.dumps([*fields, headers]))
    file.write_bytes(b"".join(line + b"\n" for line in lines))


def read(file: Path) -> Recording:
    """Read back `write`."""
    head, *lines = map(json.loads, file.read_bytes().splitlines())
    messages = [
        OutMessage(
            topic, _bytes(value), _bytes(key), partition, [(name, _bytes(text) or b"") for name, text in headers], at
        )
        for topic, partition, at, key, value, headers in lines
    ]
    committed = {(topic, partition): offset for topic, partition, offset in head["committed"]}
    return Recording(head["now"], messages, committed, dict(head["notes"]), head["expected"])


def _text(value: bytes | None) -> str | None:
    """Return bytes as text where they are text, which is read in a diff; else in base64 behind a marker."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    if text is None:
        return None
    return base64.b64decode(text.removeprefix("base64:")) if text.startswith("base64:") else text.encode()


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")
